"""COLMAP's folder: sparse/0/ with cameras, images and points3D as text or binary, and images/ beside it.

Every point has a track of at least two observations, so that COLMAP's bundle adjustment can use it; a picture's camera is in that picture's
pixels, lenses stay as they are. Pixel (0, 0) is centred at (0.5, 0.5) in COLMAP as here. Rigs and frames (COLMAP 3.12) are read, not written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.errors import FileError, shown
from recon.io.colmap_model import Camera, Image, Model, Point
from recon.io.colmap_rigs import use_frames
from recon.io.files import fault, whole_folder
from recon.io.options import Options
from recon.io.parts import Arrays, Parts, lens_of, quat_of, rotation_of, views_of_file
from recon.lenses import FOCALS, Lens

if TYPE_CHECKING:
    from recon.io.views import View
    from recon.scene import Scene, Tracks


def write(scene: Scene, path: Path, options: Options) -> None:
    """Writes the folder as text, or as binary where its name ends in _binary. Views without a place are left out."""
    from recon.io.dense_tracks import dense_tracks
    from recon.io.views import views_of, write_pictures

    views = views_of(scene, path)
    tracks = scene.tracks if scene.tracks is not None and len(scene.tracks.view) else dense_tracks(scene)
    model = Model(cameras=[], images=[], points=[])
    for view in views:
        number, T = view.index + 1, view.world_to_cam
        T[:3, 3] -= T[:3, :3] @ options.offset
        quat = quat_of(T[:3, :3])
        name, params = _params(view)
        model.cameras.append(Camera(id=number, model=name, width=view.camera.width, height=view.camera.height, params=params))
        model.images.append(Image(id=number, quat=quat, translation=T[:3, 3].tolist(), camera_id=number, name=view.name))
    if tracks is not None:
        scale = {v.index: (v.scale.double().numpy(), v.offset.double().numpy()) for v in views}
        add_tracks(model, tracks.to("cpu"), scale, np.array(options.offset))
    binary = path.name.endswith("binary")
    with whole_folder(path, options.guard, stale=rivals(binary)) as folder:
        sparse = folder / "sparse" / "0"
        sparse.mkdir(parents=True)
        if binary:
            from recon.io.colmap_binary import write_model
        else:
            from recon.io.colmap_text import write_model
        write_model(model, sparse)
        write_pictures(views, folder / "images")


def _params(view: View) -> tuple[str, list[float]]:
    """COLMAP's model of a view's lens and its numbers."""
    K, lens = view.camera.K[0].tolist(), view.lens
    centre = [K[0][2], K[1][2]]
    if lens is None:
        return "PINHOLE", [K[0][0], K[1][1], *centre]
    if lens.model == "EQUIRECTANGULAR":
        return lens.model, [float(view.camera.width), float(view.camera.height)]
    focals = [K[0][0], K[1][1]] if FOCALS[lens.model][0] == 2 else [(K[0][0] + K[1][1]) / 2]
    return lens.model, [*focals, *centre, *lens.params]


def rivals(binary: bool) -> list[str]:
    """Files of an older model that COLMAP would mix with the new one."""
    names = ("cameras", "images", "points3D", "rigs", "frames")
    both = [(name, ending) for name in names for ending in (".txt", ".bin")]
    return [f"sparse/0/{name}{ending}" for name, ending in both if name in ("rigs", "frames") or (ending == ".bin") != binary]


def add_tracks(model: Model, tracks: Tracks, places: dict[int, tuple[np.ndarray, np.ndarray]], world: np.ndarray) -> None:
    """Adds the points seen in at least two of the model's views; places: view -> (scale, offset) from the grid to the picture; `world`: what the
    points lack of the file's coordinates.
    """
    view, point, xy = tracks.view.numpy(), tracks.point.numpy(), tracks.xy.double().numpy()
    pairs = view * (len(tracks) + 1) + point
    first = np.zeros(len(view), bool)
    first[np.unique(pairs, return_index=True)[1]] = True  # one observation a view
    use = first & np.isin(view, list(places)) & np.isfinite(xy).all(1)
    use &= tracks.points.isfinite().all(1).numpy()[point] if len(point) else True
    use &= np.bincount(point[use], minlength=len(tracks))[point] >= 2
    view, point, xy = view[use], point[use], xy[use]
    track: dict[int, list[tuple[int, int]]] = {}
    for image in model.images:
        scale, offset = places[image.id - 1]
        rows = np.flatnonzero(view == image.id - 1)
        image.xy, image.point_ids = xy[rows] * scale + offset, point[rows].astype(np.int64) + 1
        for place, p in enumerate(point[rows].tolist()):
            track.setdefault(p, []).append((image.id, place))
    places_xyz, error = (tracks.points.double().numpy() + world).tolist(), tracks.error.tolist()
    shown = np.full((len(tracks), 3), 0.5) if tracks.colors is None else tracks.colors.float().numpy()
    colors = np.rint(np.clip(shown, 0, 1) * 255).astype(int).tolist()
    for p in sorted(track):
        model.points.append(Point(id=p + 1, xyz=places_xyz[p], rgb=colors[p], error=error[p] if np.isfinite(error[p]) else 0.0, track=track[p]))


def find_model(path: Path) -> Path:
    """The folder with the three files: `path`, or sparse/0, sparse or 0 below it. Raises FileError."""
    for below in (".", "sparse/0", "sparse", "0"):
        folder = path / below
        if any((folder / f"cameras{ending}").is_file() for ending in (".txt", ".bin")):
            return folder
    raise fault(path, "is no COLMAP model: it has no cameras.txt or cameras.bin, nor sparse/0 with one")


def read(path: Path) -> Parts:
    """Cameras and tracks of a COLMAP folder; the views' names are in the report. Poses of frames and rigs are used where they are there.

    Raises FileError.
    """
    folder = find_model(path)
    if (folder / "cameras.bin").is_file():
        from recon.io.colmap_binary import read_model
    else:
        from recon.io.colmap_text import read_model
    model = read_model(folder)
    lenses = {c.id: c for c in model.cameras}
    images = sorted(model.images, key=lambda image: image.id)
    if len({i.id for i in images}) != len(images):
        raise fault(folder, "has two images with one id")
    missing = next((image for image in images if image.camera_id not in lenses), None)
    if missing is not None:
        raise fault(folder, f"has the image {shown(missing.name)} of camera {missing.camera_id}, which is not there")
    use_frames(folder, model)
    used = [lenses[image.camera_id] for image in images] or model.cameras  # lenses alone: views of any photo
    poses = [_pose(folder, image) for image in images] or [np.full((4, 4), np.nan) for _ in used]
    views = views_of_file(
        folder, K=np.array([_matrix(folder, lens) for lens in used]).reshape(-1, 3, 3), cam_to_world=np.array(poses).reshape(-1, 4, 4),
        width=[lens.width for lens in used], height=[lens.height for lens in used], lenses=[_lens(folder, lens) for lens in used],
    )  # fmt: skip
    return Parts(views=views, tracks=_tracks(folder, model, images), report={"names": [i.name for i in images] or [""] * len(used)})


def _matrix(path: Path, lens: Camera) -> np.ndarray:
    if lens.model == "EQUIRECTANGULAR":  # pixels a radian
        return np.array([[lens.width / (2 * np.pi), 0, lens.width / 2], [0, lens.height / np.pi, lens.height / 2], [0, 0, 1]])
    focals = FOCALS[lens.model][0]
    return np.array([[lens.params[0], 0, lens.params[focals]], [0, lens.params[focals - 1], lens.params[focals + 1]], [0, 0, 1]])


def _lens(path: Path, lens: Camera) -> Lens | None:
    focals, numbers = FOCALS[lens.model]
    return lens_of(path, lens.model, lens.params[focals + 2 :] if numbers else [])


def _pose(path: Path, image: Image) -> np.ndarray:
    if not (np.isfinite(image.quat).all() and np.linalg.norm(image.quat) > 1e-6):
        raise fault(path, f"has the image {shown(image.name)} with the rotation {image.quat}")
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_of(image.quat).T, image.translation
    T[:3, 3] = -T[:3, :3] @ T[:3, 3]
    return T


def _tracks(path: Path, model: Model, images: list[Image]) -> Arrays | None:
    """The points with their observations. Raises FileError for tracks that speak of what is not there."""
    if not model.points or not images:
        return None
    place = {image.id: v for v, image in enumerate(images)}
    rows = [(image, spot, p) for p, point in enumerate(model.points) for image, spot in point.track]
    try:
        view = [place[image] for image, _, _ in rows]
        if any(spot < 0 for _, spot, _ in rows):
            raise IndexError
        xy = [images[v].xy[spot] for v, (_, spot, _) in zip(view, rows, strict=True)]
    except (KeyError, IndexError) as error:
        raise FileError(f"{path}: has a track with an image or a place in it that is not there") from error
    return {
        "points": np.array([p.xyz for p in model.points], float), "view": np.array(view, np.int64),
        "point": np.array([p for _, _, p in rows], np.int64), "xy": np.array(xy, float).reshape(-1, 2),
        "error": np.array([p.error for p in model.points], np.float32), "colors": np.array([p.rgb for p in model.points], np.float32) / 255,
    }  # fmt: skip
