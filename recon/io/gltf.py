"""The glTF 2.0 container (Khronos specification 2.0.1): accessors out of and into .glb files and .gltf files; sRGB to linear and back.

Every number that a file gives is checked against the bytes that are there before it is used.
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import reason, shown
from recon.io.files import fault, inside, read_json, whole_file
from recon.io.guard import Guard

MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
READ = (  # beginnings of the extensions that a file may need: read, or changing nothing of what is read
    "KHR_gaussian_splatting", "KHR_spz_gaussian_splats_compression", "KHR_materials_", "KHR_texture_transform", "EXT_texture_webp", "KHR_lights",
    "KHR_mesh_quantization", "KHR_node_visibility", "KHR_xmp", "KHR_animation", "EXT_mesh_features", "EXT_structural_metadata",
)  # fmt: skip
MOST_ZEROS = 1 << 20
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Linear values of sRGB ones, both 0..1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """sRGB values of linear ones, both 0..1."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055).astype(np.float32)


class Builder:
    """A glTF document that grows by accessors; `save` writes it as one file."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0", "generator": "recon"}, "accessors": [], "bufferViews": []}
        self.parts: list[np.ndarray] = []
        self.size = 0

    def add(self, values: np.ndarray, *, bounds: bool = False, normalized: bool = False, indices: bool = False) -> int:
        """The number of a new accessor with these values [n] or [n, k]; rows are padded to 4 bytes."""
        values = values.reshape(len(values), -1)
        row = values.shape[1] * values.itemsize
        stride = -(-row // 4) * 4 if not indices else row
        code = next(c for c, kind in COMPONENTS.items() if np.dtype(kind) == values.dtype)
        if stride != row:
            padded = np.zeros((len(values), stride), np.uint8)
            padded[:, :row] = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), row)
        else:
            padded = np.ascontiguousarray(values)
        view = self._append(padded, target=ELEMENT_ARRAY_BUFFER if indices else ARRAY_BUFFER, **({"byteStride": stride} if stride != row else {}))
        kind = next(name for name, width in WIDTHS.items() if width == values.shape[1])
        accessor: dict[str, Any] = {"bufferView": view, "componentType": code, "count": len(values), "type": kind}
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.json["accessors"].append(accessor)
        return len(self.json["accessors"]) - 1

    def add_bytes(self, content: bytes) -> int:
        """The number of a new bufferView with the bytes of a picture."""
        return self._append(np.frombuffer(content, np.uint8))

    def _append(self, values: np.ndarray, **properties: int) -> int:
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": self.size, "byteLength": values.nbytes, **properties})
        self.parts.append(values)
        self.size += values.nbytes
        if self.size % 4:
            self.parts.append(np.zeros(-self.size % 4, np.uint8))
            self.size += -self.size % 4
        return len(self.json["bufferViews"]) - 1

    def save(self, path: Path, guard: Guard) -> None:
        """Writes a .glb, or a .gltf with its data inside. Raises FileError for more than 4 GiB, which the format cannot hold."""
        if self.size:
            self.json["buffers"] = [{"byteLength": self.size}]
        self.json = {key: value for key, value in self.json.items() if value != []}
        if path.suffix.lower() == ".gltf":
            if self.size:
                data = base64.b64encode(b"".join(part.tobytes() for part in self.parts)).decode()
                self.json["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{data}"
            with whole_file(path, guard) as temporary:
                temporary.write_text(json.dumps(self.json, allow_nan=False), encoding="utf-8")
            return
        text = json.dumps(self.json, allow_nan=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + (8 + self.size if self.size else 0)
        if total >= 1 << 32:
            raise fault(path, f"would be {total} bytes, and a GLB holds at most 4 GiB")
        with whole_file(path, guard) as temporary, open(temporary, "wb") as file:
            file.write(struct.pack("<IIIII", MAGIC, 2, total, len(text), JSON_CHUNK) + text)
            if self.size:
                file.write(struct.pack("<II", self.size, BIN_CHUNK))
                for part in self.parts:
                    part.tofile(file)


class Document:
    """A glTF file that was read: its JSON and its accessors as arrays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.binary = b""
        content = path.read_bytes()
        self.size = len(content)
        if content[:4] == b"glTF":
            content = self._chunks(content)
        self.json = read_json(path, content)
        if not isinstance(self.json, dict) or not isinstance(self.json.get("asset"), dict) or str(self.json["asset"].get("version"))[:2] != "2.":
            raise fault(path, "is not glTF 2.0")
        needed = self.json.get("extensionsRequired", [])
        unread = [str(name) for name in needed if not str(name).startswith(READ)] if isinstance(needed, list) else []
        if unread:
            raise fault(path, f"needs {', '.join(unread)}, which is not read; save it without compression or other extensions")
        self.buffers: dict[int, bytes] = {}

    def _chunks(self, content: bytes) -> bytes:
        """The JSON chunk of a GLB; keeps the binary one."""
        if len(content) < 20:
            raise fault(self.path, f"is {len(content)} bytes long, too short for a GLB")
        _, version, total, length, kind = struct.unpack_from("<IIIII", content)
        if version != 2:
            raise fault(self.path, f"is a GLB of version {version}, wanted 2")
        if total > len(content) or kind != JSON_CHUNK or 20 + length > total:
            raise fault(self.path, f"is cut off or false: it says {total} bytes with {length} of JSON, it has {len(content)}")
        at = 20 + length
        if at + 8 <= total:
            size, kind = struct.unpack_from("<II", content, at)
            if kind == BIN_CHUNK:
                if at + 8 + size > total:
                    raise fault(self.path, f"is cut off or false: a binary chunk of {size} bytes, {total - at - 8} are left")
                self.binary = content[at + 8 : at + 8 + size]
        return content[20 : 20 + length]

    def entry(self, table: str, index: object) -> dict[str, Any]:
        """One entry of one of the document's tables. Raises FileError where it is none."""
        entries = self.json.get(table, [])
        if not isinstance(index, int) or not isinstance(entries, list) or not 0 <= index < len(entries) or not isinstance(entries[index], dict):
            raise fault(self.path, f"speaks of {table}[{shown(index)}], which is not there")
        return entries[index]

    def number(self, entry: dict[str, Any], key: str, default: int | None = None) -> int:
        """A count or an offset. Raises FileError where it is none."""
        value = entry.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise fault(self.path, f"has {key} = {shown(value)}, wanted a count")
        return value

    def buffer(self, index: object) -> bytes:
        """The bytes of a buffer: the binary chunk, base64 or a file beside."""
        entry = self.entry("buffers", index)
        assert isinstance(index, int)
        if index not in self.buffers:
            uri = entry.get("uri")
            if uri is None:
                content = self.binary
            elif isinstance(uri, str) and uri.startswith("data:"):
                try:
                    content = base64.b64decode(uri.partition(",")[2], validate=True)
                except ValueError as error:
                    raise fault(self.path, f"has a buffer that is not base64: {reason(error)}") from error
            else:
                content = inside(self.path, self.path.parent, uri).read_bytes()
            if self.number(entry, "byteLength") > len(content):
                raise fault(self.path, f"says that buffer {index} has {entry['byteLength']} bytes, it has {len(content)}")
            self.buffers[index] = content
        return self.buffers[index]

    def view(self, index: object) -> tuple[bytes, int, int, int]:
        """The buffer, start, length and stride (0: none given) of a bufferView."""
        entry = self.entry("bufferViews", index)
        content = self.buffer(entry.get("buffer"))
        start, length = self.number(entry, "byteOffset", 0), self.number(entry, "byteLength")
        if start + length > len(content):
            raise fault(self.path, f"has bufferView {index} at {start} with {length} bytes in a buffer of {len(content)}")
        return content, start, length, self.number(entry, "byteStride", 0)

    def accessor(self, index: object) -> np.ndarray:
        """The values [n, k] of an accessor; normalised integers become floats. Raises FileError."""
        entry = self.entry("accessors", index)
        kind, width = COMPONENTS.get(entry.get("componentType", -1)), WIDTHS.get(entry.get("type", ""))
        if kind is None or width is None:
            raise fault(self.path, f"has accessor {index} of {shown(entry.get('componentType'))} {shown(entry.get('type'))}")
        dtype, count = np.dtype(kind), self.number(entry, "count")
        if "bufferView" in entry:
            raw = self._rows(entry, f"accessor {index}", dtype, count, width)
        else:
            self._believed(count, width * dtype.itemsize)
            raw = np.zeros((count, width), dtype)
        if "sparse" in entry:
            raw = self._sparse(entry["sparse"], index, raw)
        if entry.get("normalized") and dtype.kind in "iu":
            return np.maximum(raw.astype(np.float32) / np.iinfo(dtype).max, -1)
        return raw

    def _rows(self, entry: dict[str, Any], what: str, dtype: np.dtype, count: int, width: int) -> np.ndarray:  # [count, width]
        """Values in a bufferView, as they lie there."""
        content, start, length, stride = self.view(entry.get("bufferView"))
        offset, row = self.number(entry, "byteOffset", 0), width * dtype.itemsize
        stride = stride or row
        if count and (stride < row or offset + (count - 1) * stride + row > length):
            raise fault(self.path, f"has {what} with {count} values of {row} bytes in {length} bytes")
        return np.ndarray((count, width), dtype, content, start + offset, (stride, dtype.itemsize)) if count else np.zeros((0, width), dtype)

    def _believed(self, count: int, row: int) -> None:
        """Raises FileError for zeros that no bytes stand for, beyond what a file of this size has use for."""
        if count * row > MOST_ZEROS + 64 * self.size:
            raise fault(self.path, f"has {count} values of {row} bytes that are nowhere in its {self.size} bytes")

    def _sparse(self, sparse: Any, index: object, values: np.ndarray) -> np.ndarray:
        """The values with those replaced that the accessor's `sparse` tells."""
        parts = [part for name in ("indices", "values") if isinstance(sparse, dict) and isinstance(part := sparse.get(name), dict)]
        if len(parts) != 2:
            raise fault(self.path, f"has the sparse accessor {index} without indices and values")
        count, kind = self.number(sparse, "count"), COMPONENTS.get(parts[0].get("componentType", -1))
        if kind is None or np.dtype(kind).kind != "u" or count > len(values):
            raise fault(self.path, f"has the sparse accessor {index} with {count} places of {shown(parts[0].get('componentType'))} in {len(values)}")
        at = self._rows(parts[0], f"the places of accessor {index}", np.dtype(kind), count, 1)[:, 0]
        if count and int(at.max()) >= len(values):
            raise fault(self.path, f"has the sparse accessor {index} with place {int(at.max())} of {len(values)}")
        out = values.copy()
        out[at] = self._rows(parts[1], f"the values of accessor {index}", values.dtype, count, values.shape[1])
        return out
