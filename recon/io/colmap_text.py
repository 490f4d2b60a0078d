"""COLMAP's three text files: cameras.txt, images.txt and points3D.txt (its documentation's "Output Format")."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recon.errors import reason, shown
from recon.io.colmap_model import MODELS, Camera, Frame, Image, Model, Point, Rig
from recon.io.files import fault

COUNTS = dict(MODELS.values())


def numbers(values: object) -> str:
    """Numbers with all their digits."""
    return " ".join(f"{x:.17g}" for x in values)  # type: ignore[attr-defined]


def write_model(model: Model, folder: Path) -> None:
    """Writes the three files into a folder."""
    cameras = [f"{c.id} {c.model} {c.width} {c.height} {numbers(c.params)}" for c in model.cameras]
    images = []
    for i in model.images:
        images.append(f"{i.id} {numbers(i.quat)} {numbers(i.translation)} {i.camera_id} {i.name}")
        images.append(" ".join(f"{x:.17g} {y:.17g} {p}" for (x, y), p in zip(i.xy.tolist(), i.point_ids.tolist(), strict=True)))
    points = [
        f"{p.id} {numbers(p.xyz)} {p.rgb[0]} {p.rgb[1]} {p.rgb[2]} {p.error:.17g} {' '.join(f'{image} {place}' for image, place in p.track)}"
        for p in model.points
    ]
    for name, head, lines in (
        ("cameras", "# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]", cameras),
        ("images", "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then POINTS2D[] as X Y POINT3D_ID", images),
        ("points3D", "# POINT3D_ID X Y Z R G B ERROR TRACK[] as IMAGE_ID POINT2D_IDX", points),
    ):
        (folder / f"{name}.txt").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


def _lines(path: Path, *, blank: bool = False) -> Iterator[list[str]]:
    """The words of each line that is no comment; blank lines too if `blank`."""
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if (words and not words[0].startswith("#")) or (blank and not words):
                    yield words
    except UnicodeDecodeError as error:
        raise fault(path, "is no text file") from error


def read_model(folder: Path) -> Model:
    """The model of three text files; images.txt and points3D.txt may be absent. Raises FileError."""
    cameras_path, images_path, points_path = (folder / f"{name}.txt" for name in ("cameras", "images", "points3D"))
    try:
        cameras = [
            Camera(id=int(w[0]), model=w[1], width=int(w[2]), height=int(w[3]), params=[float(x) for x in w[4:]])
            for w in _lines(cameras_path)
        ]
        for camera in cameras:
            if camera.model not in COUNTS or len(camera.params) != COUNTS[camera.model]:
                raise fault(cameras_path, f"has a camera {shown(camera.model)} with {len(camera.params)} parameters")
    except (ValueError, IndexError) as error:
        raise fault(cameras_path, f"has a false line: {reason(error)}") from error
    images = _images(images_path) if images_path.is_file() else []
    points = []
    if points_path.is_file():
        try:
            for w in _lines(points_path):
                track = list(zip(map(int, w[8::2]), map(int, w[9::2]), strict=True))
                points.append(Point(id=int(w[0]), xyz=[float(x) for x in w[1:4]], rgb=[int(x) for x in w[4:7]], error=float(w[7]), track=track))
        except (ValueError, IndexError) as error:
            raise fault(points_path, f"has a false line: {reason(error)}") from error
    return Model(cameras=cameras, images=images, points=points, rigs=_rigs(folder / "rigs.txt"), frames=_frames(folder / "frames.txt"))


def _rigs(path: Path) -> list[Rig]:
    """RIG_ID NUM_SENSORS REF_TYPE REF_ID, then of each other sensor TYPE ID HAS_POSE and the pose."""
    rigs = []
    try:
        for w in _lines(path) if path.is_file() else ():
            sensors: dict[tuple[str, int], list[float] | None] = {(w[2], int(w[3])): None} if int(w[1]) else {}
            at = 4
            for _ in range(int(w[1]) - 1):
                told = int(w[at + 2])
                sensors[w[at], int(w[at + 1])] = [float(x) for x in w[at + 3 : at + 10]] if told else None
                at += 10 if told else 3
            if any(pose is not None and len(pose) != 7 for pose in sensors.values()):
                raise IndexError("a pose has 7 numbers")
            rigs.append(Rig(id=int(w[0]), sensors=sensors))
    except (ValueError, IndexError) as error:
        raise fault(path, f"has a false line: {reason(error)}") from error
    return rigs


def _frames(path: Path) -> list[Frame]:
    """FRAME_ID RIG_ID, the pose, NUM_DATA_IDS, and of each TYPE SENSOR_ID DATA_ID."""
    frames = []
    try:
        for w in _lines(path) if path.is_file() else ():
            data = [(w[i], int(w[i + 1]), int(w[i + 2])) for i in range(10, 10 + 3 * int(w[9]), 3)]
            frames.append(Frame(id=int(w[0]), rig_id=int(w[1]), pose=[float(x) for x in w[2:9]], data=data))
    except (ValueError, IndexError) as error:
        raise fault(path, f"has a false line: {reason(error)}") from error
    return frames


def _images(path: Path) -> list[Image]:
    """Two lines an image; the second may be blank."""
    images: list[Image] = []
    lines = _lines(path, blank=True)
    try:
        for w in lines:
            if not w:
                continue
            image = Image(
                id=int(w[0]), quat=[float(x) for x in w[1:5]], translation=[float(x) for x in w[5:8]], camera_id=int(w[8]), name=" ".join(w[9:])
            )
            seen = next(lines, [])
            if len(seen) % 3 or len(image.translation) != 3 or not image.name:
                raise fault(path, f"has a false line for the image {shown(image.name)}")
            image.xy = np.array([[float(x), float(y)] for x, y in zip(seen[::3], seen[1::3], strict=True)]).reshape(-1, 2)
            image.point_ids = np.array([int(p) for p in seen[2::3]], np.int64)
            images.append(image)
    except (ValueError, IndexError, OverflowError) as error:
        raise fault(path, f"has a false line: {reason(error)}") from error
    return images
