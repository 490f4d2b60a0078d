"""The PLY container: its header, elements as structured arrays, binary of both byte orders and ascii (Turk 1994).

Counts are checked against the file's size before anything is allocated, so that a false count costs nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon.errors import reason, shown
from recon.io.files import fault
from recon.io.options import Encoding

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float", "f8": "double"}
ENCODINGS: dict[str, Encoding] = {"binary_little_endian": "binary", "binary_big_endian": "big-endian", "ascii": "ascii"}
MAX_HEADER = 1 << 20
BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Element:
    """One element of a header; a list property has the type of its counts."""

    name: str
    count: int
    properties: tuple[tuple[str, str, str | None], ...]  # name, numpy type, numpy type of the count of a list

    @property
    def names(self) -> set[str]:
        return {name for name, _, _ in self.properties}

    @property
    def lists(self) -> bool:
        return any(count for _, _, count in self.properties)

    def dtype(self, order: str = "<") -> np.dtype:
        """The record of an element without lists; `order` is < or >."""
        return np.dtype([(name, order + kind) for name, kind, _ in self.properties])


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a PLY file says of itself."""

    path: Path
    encoding: Encoding
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    start: int  # bytes before the data

    def element(self, name: str) -> Element | None:
        return next((e for e in self.elements if e.name == name), None)


def read_header(path: Path) -> Header:
    """The header of a PLY file. Raises FileError for what is not one."""
    with open(path, "rb") as file:
        head = file.read(MAX_HEADER)
    if head[:4] not in (b"ply\n", b"ply\r"):
        raise fault(path, f"is not a PLY file: it starts with {shown(head[:4])}, wanted 'ply'")
    end = head.find(b"end_header")
    stop = head.find(b"\n", end)
    if end < 0 or stop < 0:
        raise fault(path, "has no end_header; it is cut off or not a PLY file")
    encoding: Encoding | None = None
    elements: list[tuple[str, int, list[tuple[str, str, str | None]]]] = []
    comments = []
    for line in head[4:end].decode("latin-1").replace("\r", "\n").split("\n"):
        words = line.split()
        if not words:
            continue
        if words[0] in ("comment", "obj_info"):
            comments.append(line.split(maxsplit=1)[-1] if len(words) > 1 else "")
        elif words[0] == "format" and len(words) >= 2 and words[1] in ENCODINGS:
            encoding = ENCODINGS[words[1]]
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal() and len(words[2]) < 16:
            elements.append((words[1], int(words[2]), []))
        elif words[0] == "property" and elements:
            elements[-1][2].append(_property(path, line, words))
        else:
            raise fault(path, f"has the header line {shown(line[:80])}, which means nothing in a PLY file")
    if encoding is None:
        raise fault(path, f"names no format; one of: {', '.join(ENCODINGS)}")
    made = tuple(_element(path, *e) for e in elements)
    if len({e.name for e in made}) != len(made):
        raise fault(path, "has two elements of one name")
    return Header(path=path, encoding=encoding, elements=made, comments=tuple(comments), start=stop + 1)


def _property(path: Path, line: str, words: Sequence[str]) -> tuple[str, str, str | None]:
    if len(words) == 3 and words[1] in TYPES:
        return words[2], TYPES[words[1]], None
    if len(words) == 5 and words[1] == "list" and words[2] in TYPES and words[3] in TYPES and TYPES[words[2]][0] != "f":
        return words[4], TYPES[words[3]], TYPES[words[2]]
    raise fault(path, f"has the header line {shown(line[:80])}, wanted a property of type {', '.join(NAMES.values())}")


def _element(path: Path, name: str, count: int, properties: list[tuple[str, str, str | None]]) -> Element:
    names = [p[0] for p in properties]
    if len(set(names)) != len(names):
        raise fault(path, f"names a property of {name} twice")
    return Element(name=name, count=count, properties=tuple(properties))


def read_elements(header: Header, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """The wanted elements that the file has: structured arrays [count]; a list property is an array [count, n] when its lists are equally
    long, otherwise an object array of arrays. Elements after the last wanted one are not looked at. Raises FileError.
    """
    wanted = set(wanted)
    left = [e for e in header.elements if e.name in wanted]
    out: dict[str, np.ndarray] = {}
    with open(header.path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(header.start)
        for element in header.elements:
            if not left:
                break
            needed = element in left
            if header.encoding == "ascii":
                values = _ascii(header.path, file, element, size)
            else:
                values = _binary(header.path, file, element, size, "<" if header.encoding == "binary" else ">", needed)
            if needed:
                out[element.name] = values
                left.remove(element)
    return out


def _too_short(path: Path, element: Element, needed: int, rest: int) -> Exception:
    return fault(path, f"is cut off or its header is false: {element.count} {element.name} need {needed} bytes, {rest} are left")


def _binary(path: Path, file: BinaryIO, element: Element, size: int, order: str, needed: bool) -> np.ndarray:
    if element.lists:
        return _binary_lists(path, file, element, size, order)
    dtype = element.dtype(order)
    rest = size - file.tell()
    if element.count * dtype.itemsize > rest:
        raise _too_short(path, element, element.count * dtype.itemsize, rest)
    if not needed:
        file.seek(element.count * dtype.itemsize, 1)
        return np.zeros(0, dtype)
    values = np.fromfile(file, dtype, element.count)
    if len(values) != element.count:
        raise _too_short(path, element, element.count * dtype.itemsize, rest)
    return values


def _list_dtype(element: Element, lengths: Sequence[int], order: str) -> np.dtype:
    fields: list[tuple] = []
    spare = iter(lengths)
    for name, kind, count in element.properties:
        fields += [(name, order + kind)] if count is None else [(f"{name}:count", order + count), (name, order + kind, (next(spare),))]
    return np.dtype(fields)


def _binary_lists(path: Path, file: BinaryIO, element: Element, size: int, order: str) -> np.ndarray:
    """All rows like the first one if that fits, otherwise one by one."""
    start, rest = file.tell(), size - file.tell()
    smallest = sum(np.dtype(count or kind).itemsize for _, kind, count in element.properties)
    if element.count * smallest > rest:
        raise _too_short(path, element, element.count * smallest, rest)
    if not element.count:
        return np.zeros(0, _list_dtype(element, [0] * len(element.properties), order))
    lengths = _row(path, file, element, size, order)[1]
    dtype = _list_dtype(element, lengths, order)
    if element.count * dtype.itemsize <= rest:
        file.seek(start)
        rows = np.fromfile(file, dtype, element.count)
        names = [name for name, _, count in element.properties if count]
        if all((rows[f"{name}:count"] == n).all() for name, n in zip(names, lengths, strict=True)):
            return rows
    file.seek(start)
    out = np.empty(element.count, np.dtype([(name, object if count else order + kind) for name, kind, count in element.properties]))
    for i in range(element.count):
        out[i] = tuple(_row(path, file, element, size, order)[0])
    return out


def _row(path: Path, file: BinaryIO, element: Element, size: int, order: str) -> tuple[list, list[int]]:
    """The values of one row and the lengths of its lists."""
    values, lengths = [], []
    for name, kind, count in element.properties:
        n = 1
        if count is not None:
            length = np.frombuffer(file.read(np.dtype(count).itemsize), order + count)
            n = int(length[0]) if len(length) else -1
            lengths.append(n)
        dtype = np.dtype(order + kind)
        if not 0 <= n * dtype.itemsize <= size - file.tell():
            raise fault(path, f"is cut off or false: a list {name} of {element.name} with {n} entries, {size - file.tell()} bytes are left")
        row = np.frombuffer(file.read(n * dtype.itemsize), dtype)
        values.append(row if count is not None else row[0])
    return values, lengths


def _ascii(path: Path, file: BinaryIO, element: Element, size: int) -> np.ndarray:
    rest = size - file.tell()
    if element.count * 2 * len(element.properties) > rest + 1:  # a value and a blank each
        raise _too_short(path, element, element.count * 2 * len(element.properties), rest)
    dtype = element.dtype()
    lines = _lines(path, file, element)
    if not element.lists:
        try:
            values = np.loadtxt(lines, np.float64, ndmin=2, comments=None) if element.count else np.zeros((0, len(element.properties)))
        except ValueError as error:
            raise fault(path, f"has a false line among its {element.name}: {reason(error)}") from error
        if values.shape != (element.count, len(element.properties)):
            raise fault(path, f"has {list(values.shape)} values of {element.name}, wanted {[element.count, len(element.properties)]}")
        out = np.empty(element.count, dtype)
        with np.errstate(all="ignore"):
            for column, name in enumerate(dtype.names or ()):
                out[name] = values[:, column]
        return out
    rows = np.empty(element.count, np.dtype([(name, object if count else kind) for name, kind, count in element.properties]))
    for i, line in enumerate(lines):
        words = iter(line.split())
        try:
            rows[i] = tuple(
                np.array([next(words) for _ in range(min(int(next(words)), len(line)))], float).astype(kind) if count else float(next(words))
                for _, kind, count in element.properties
            )
        except (ValueError, StopIteration, RuntimeError) as error:
            raise fault(path, f"has a false line among its {element.name}: {shown(line[:80])}") from error
    return rows


def _lines(path: Path, file: BinaryIO, element: Element) -> Iterator[str]:
    """The next lines that are not blank, one for each row."""
    got = 0
    while got < element.count:
        line = file.readline()
        if not line:
            raise fault(path, f"is cut off: it has {got} of {element.count} {element.name}")
        if line.strip():
            got += 1
            yield line.decode("latin-1")


def write_ply(
    path: Path, elements: Sequence[tuple[str, int, np.dtype, Iterable[np.ndarray]]], *, comments: Sequence[str] = (), encoding: Encoding = "binary"
) -> None:
    """Writes elements (name, count, record, blocks of records) to `path`; a field of shape (n,) named x becomes a list of uchar counts.

    Blocks keep the memory low; the order of bytes is changed as they pass.
    """
    words = {value: key for key, value in ENCODINGS.items()}
    lines = ["ply", f"format {words[encoding]} 1.0", *(f"comment {c}" for c in comments)]
    for name, count, dtype, _ in elements:
        lines.append(f"element {name} {count}")
        for field in dtype.names or ():
            kind = dtype[field]
            base = NAMES[kind.base.str[1:]]
            lines.append(f"property list uchar {base} {field}" if kind.shape else f"property {base} {field}")
    with open(path, "wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii", "replace"))
        for _, _, dtype, blocks in elements:
            for block in blocks:
                _write_block(file, block.astype(dtype, copy=False), encoding)


def _write_block(file: BinaryIO, block: np.ndarray, encoding: Encoding) -> None:
    if encoding == "binary" and sys.byteorder == "little" and not any(block.dtype[name].shape for name in block.dtype.names or ()):
        block.tofile(file)
        return
    fields: list[tuple] = []
    for name in block.dtype.names or ():
        shape = block.dtype[name].shape
        fields += [(f"{name}:count", "u1"), (name, block.dtype[name].base, shape)] if shape else [(name, block.dtype[name])]
    out = np.empty(len(block), fields)
    for name in block.dtype.names or ():
        out[name] = block[name]
        if block.dtype[name].shape:
            out[f"{name}:count"] = block.dtype[name].shape[0]
    if encoding == "ascii":
        for row in out.tolist():
            flat = [x for value in row for x in (value if isinstance(value, list | tuple | np.ndarray) else (value,))]
            file.write((" ".join(f"{x:.9g}" if isinstance(x, float) else str(int(x)) for x in flat) + "\n").encode())
        return
    swap = (encoding == "big-endian") == (sys.byteorder == "little")
    (out.byteswap() if swap else out).tofile(file)


def blocks(count: int, rows: int = BLOCK_ROWS) -> Iterator[slice]:
    """Slices that together cover `count` rows."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
