"""COLMAP's three binary files, little endian: cameras.bin, images.bin and points3D.bin."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from recon.io.colmap_model import MODELS, Camera, Frame, Image, Model, Point, Rig
from recon.io.files import fault

SENSORS = {0: "CAMERA", 1: "IMU"}
NUMBERS = {name: number for number, (name, _) in MODELS.items()}


def write_model(model: Model, folder: Path) -> None:
    """Writes the three files into a folder."""
    out = [struct.pack("<Q", len(model.cameras))]
    for c in model.cameras:
        out.append(struct.pack(f"<iiQQ{len(c.params)}d", c.id, NUMBERS[c.model], c.width, c.height, *c.params))
    (folder / "cameras.bin").write_bytes(b"".join(out))
    out = [struct.pack("<Q", len(model.images))]
    for i in model.images:
        out.append(struct.pack("<i7di", i.id, *i.quat, *i.translation, i.camera_id) + i.name.encode() + b"\0" + struct.pack("<Q", len(i.xy)))
        rows = np.empty(len(i.xy), [("xy", "<f8", 2), ("id", "<i8")])
        rows["xy"], rows["id"] = i.xy, i.point_ids
        out.append(rows.tobytes())
    (folder / "images.bin").write_bytes(b"".join(out))
    out = [struct.pack("<Q", len(model.points))]
    for p in model.points:
        flat = [x for pair in p.track for x in pair]
        out.append(struct.pack(f"<Q3d3BdQ{len(flat)}i", p.id, *p.xyz, *p.rgb, p.error, len(p.track), *flat))
    (folder / "points3D.bin").write_bytes(b"".join(out))


class Cursor:
    """A place in the bytes of a file that never runs past their end."""

    def __init__(self, path: Path) -> None:
        self.path, self.content, self.at = path, path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        """The next values of a struct layout. Raises FileError at the end."""
        size = struct.calcsize("<" + layout)
        self.room(1, size)
        values = struct.unpack_from("<" + layout, self.content, self.at)
        self.at += size
        return values

    def room(self, count: int, size: int) -> None:
        """Raises FileError unless `count` entries of at least `size` bytes are left."""
        if count * size > len(self.content) - self.at:
            raise fault(self.path, f"is cut off or false: {count} entries of {size} bytes at {self.at}, the file has {len(self.content)}")

    def count(self, size: int) -> int:
        """A count of entries of at least `size` bytes each."""
        (count,) = self.take("Q")
        self.room(count, size)
        return count

    def array(self, dtype: np.dtype, count: int) -> np.ndarray:
        self.room(count, dtype.itemsize)
        out = np.frombuffer(self.content, dtype, count, self.at)
        self.at += count * dtype.itemsize
        return out

    def text(self) -> str:
        """The text up to the next zero byte."""
        end = self.content.find(b"\0", self.at)
        if end < 0:
            raise fault(self.path, "is cut off in a name")
        word = self.content[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return word


def read_model(folder: Path) -> Model:
    """The model of three binary files; images.bin and points3D.bin may be absent. Raises FileError."""
    cursor = Cursor(folder / "cameras.bin")
    cameras = []
    for _ in range(cursor.count(24)):
        number, model, width, height = cursor.take("iiQQ")
        if model not in MODELS:
            raise fault(cursor.path, f"has a camera of model {model}, wanted 0 to {max(MODELS)}")
        name, params = MODELS[model]
        cameras.append(Camera(id=number, model=name, width=width, height=height, params=list(cursor.take(f"{params}d"))))
    images = _images(folder / "images.bin") if (folder / "images.bin").is_file() else []
    points = []
    if (folder / "points3D.bin").is_file():
        cursor = Cursor(folder / "points3D.bin")
        for _ in range(cursor.count(51)):
            number, x, y, z, r, g, b, error = cursor.take("Q3d3Bd")
            track = cursor.array(np.dtype("<i4"), 2 * cursor.count(8)).reshape(-1, 2)
            points.append(Point(id=number, xyz=[x, y, z], rgb=[r, g, b], error=error, track=[(a, b) for a, b in track.tolist()]))
    return Model(cameras=cameras, images=images, points=points, rigs=_rigs(folder / "rigs.bin"), frames=_frames(folder / "frames.bin"))


def _rigs(path: Path) -> list[Rig]:
    """u32 id, u32 sensors, the first one's i32 type and u32 id, then of each other type, id, u8 has_pose and 7 doubles."""
    cursor, rigs = Cursor(path) if path.is_file() else None, []
    for _ in range(cursor.count(8) if cursor else 0):
        assert cursor is not None
        number, count = cursor.take("II")
        sensors: dict[tuple[str, int], list[float] | None] = {}
        for place in range(count):
            kind, sensor = cursor.take("iI")
            told = place and cursor.take("B")[0]
            sensors[SENSORS.get(kind, str(kind)), sensor] = list(cursor.take("7d")) if told else None
        rigs.append(Rig(id=number, sensors=sensors))
    return rigs


def _frames(path: Path) -> list[Frame]:
    """u32 id, u32 rig, 7 doubles, u32 data, and of each i32 type, u32 sensor and u64 image."""
    cursor, frames = Cursor(path) if path.is_file() else None, []
    for _ in range(cursor.count(68) if cursor else 0):
        assert cursor is not None
        number, rig, *pose, count = cursor.take("II7dI")
        cursor.room(count, 16)
        data = [cursor.take("iIQ") for _ in range(count)]
        frames.append(Frame(id=number, rig_id=rig, pose=pose, data=[(SENSORS.get(kind, str(kind)), sensor, image) for kind, sensor, image in data]))
    return frames


def _images(path: Path) -> list[Image]:
    cursor, images = Cursor(path), []
    seen = np.dtype([("xy", "<f8", 2), ("id", "<i8")])
    for _ in range(cursor.count(73)):
        number, *pose, camera = cursor.take("i7di")
        name = cursor.text()
        rows = cursor.array(seen, cursor.count(seen.itemsize))
        images.append(
            Image(id=number, quat=pose[:4], translation=pose[4:], camera_id=camera, name=name, xy=rows["xy"], point_ids=rows["id"])
        )
    return images
