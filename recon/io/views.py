"""The views of a scene as camera files speak of them: a picture, its name and the camera in that picture's own pixels."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.errors import listed, reason
from recon.io.files import fault
from recon.scene import Cameras, Lens, PhotoFile, Scene

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
JPEG_QUALITY = 95
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class View:
    """One placed view; x_picture = x_grid * scale + offset."""

    index: int  # among the scene's views
    name: str  # of the picture's file
    camera: Cameras  # one camera, in pixels of the picture
    scale: Tensor  # [2]
    offset: Tensor  # [2]
    picture: np.ndarray | None  # [h, w, 3] uint8, None where the scene holds no images or `file` has it
    file: PhotoFile | None  # the user's own photo, at the camera's size

    @property
    def lens(self) -> Lens | None:
        return self.camera.lenses[0] if self.camera.lenses else None

    @property
    def world_to_cam(self) -> np.ndarray:  # [4, 4] float64
        return np.linalg.inv(self.camera.cam_to_world[0].double().numpy())


def view_names(scene: Scene) -> list[str]:
    """File names of the pictures of all views; see `picture_names`."""
    told = scene.report.get("names")
    names = list(scene.images.names) if scene.images is not None else list(told) if isinstance(told, list | tuple) else []
    if len(names) != len(scene):
        names = [f"view_{v:03d}" for v in range(len(scene))]
    return picture_names(names, None if scene.images is None else scene.images.files)


def picture_names(names: Sequence[str], files: Sequence[PhotoFile] | None) -> list[str]:
    """File names, each once, without folders and blanks; `files`: the photos to be written (empty: where they lie is unknown), None for none.

    The ending becomes .jpg where a picture will be written that is no copy of the photo's own file.
    """
    out: list[str] = []
    for v, name in enumerate(names):
        clean = re.sub(r"[\s/\\:]+", "_", str(name)).lstrip(".") or f"view_{v:03d}"
        stem, dot, ending = clean.rpartition(".")
        copied = files is None or (len(files) > v and there(files[v]) and files[v].plain)
        if f".{ending.lower()}" not in PICTURES or not copied:
            clean = (stem if dot and f".{ending.lower()}" in (*PICTURES, ".heic", ".heif", ".avif", ".mpo") else clean) + ".jpg"
        out.append(clean if clean.lower() not in map(str.lower, out) else f"{v:03d}_{clean}")
    return out


def there(file: PhotoFile) -> bool:
    """Whether the photo still is where it was read."""
    return Path(file.path).is_file()


def stems_of(names: Sequence[str]) -> list[str]:
    """File names without their endings, each once."""
    stems = [name.rpartition(".")[0] or name for name in names]
    low = [stem.lower() for stem in stems]
    return [stem if low.count(stem.lower()) == 1 else name.replace(".", "_") for stem, name in zip(stems, names, strict=True)]


def views_of(scene: Scene, path: Path) -> list[View]:
    """The views that have a place and a lens; a warning names the others. Raises FileError where none has."""
    cameras, images = scene.cameras.to("cpu"), scene.images
    placed = cameras.posed
    names, photos = view_names(scene), cameras.for_photos()
    out = []
    for v in placed.nonzero()[:, 0].tolist():
        camera, picture = photos[v], None
        file = images.files[v] if images is not None and images.files and there(images.files[v]) else None
        if images is not None and images.photos and file is None:
            picture = np.asarray(images.photos[v])
            camera = _resized(camera, picture.shape[1], picture.shape[0])
        elif images is not None and file is None:
            picture = (images.rgb[v].cpu().clamp(0, 1) * 255).round().byte().numpy()
            camera = cameras[v]
        K, grid = camera.K[0], cameras.K[v]
        scale = torch.stack([K[0, 0] / grid[0, 0], K[1, 1] / grid[1, 1]])
        offset = K[:2, 2] - grid[:2, 2] * scale
        out.append(View(index=v, name=names[v], camera=camera, scale=scale, offset=offset, picture=picture, file=file))
    if not out:
        raise fault(path, f"cannot hold this scene: none of its {len(scene)} views has a place")
    if len(out) < len(scene):
        log.warning("%s: without %s, which have no place", path, ", ".join(names[v] for v in range(len(scene)) if not placed[v]))
    return out


def _resized(camera: Cameras, width: int, height: int) -> Cameras:
    """The camera of the same picture at another size."""
    K = camera.K.clone()
    K[:, 0] *= width / camera.width
    K[:, 1] *= height / camera.height
    return replace(camera, K=K, width=width, height=height)


def write_pictures(views: Sequence[View], folder: Path) -> None:
    """Writes the pictures of the views into `folder`: the photos' own bytes where every program can use them, else JPEG, which a warning tells.

    Nothing where the scene holds no images. Raises FileError where a photo is no longer what it was.
    """
    for view in views:
        if view.file is None and view.picture is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if view.file is None:
            (folder / view.name).write_bytes(_jpeg(view.picture))
        else:
            _write_photo(view, view.file, folder / view.name)
    small = [v.name for v in views if v.picture is not None]
    if small:
        log.warning("%s: %s written as JPEG at the size kept in memory: the photos' own files are not at hand", folder.name, _are(small))
    bent = [v.name for v in views if v.file is not None and v.file.distorted is not None]
    if bent:
        log.info("%s: %s undistorted", folder.name, _are(bent))
    turned = [v.name for v in views if v.file is not None and not v.file.plain and v.name not in bent]
    if turned:
        log.warning("%s: %s written anew as upright 8-bit JPEG at full size: other programs would see the photos' own files differently",
                    folder.name, _are(turned))  # fmt: skip


def picture_of(view: View) -> np.ndarray:  # [h, w, 3] uint8
    """The view's photo at the size of its camera: the user's own file where it is at hand, else what the scene holds.

    Raises FileError where a file is no longer what it was, and where the scene holds no picture of the view.
    """
    from recon.photos.decode import PhotoError, read_photo
    from recon.photos.find import content_of
    from recon.photos.undistort import undistort_picture

    file = view.file
    if file is None:
        if view.picture is None:
            raise fault(view.name, "has no picture in the scene")
        return view.picture
    try:
        picture = read_photo(content_of(file), file.member or file.path, picture=file.picture, long_side=None).rgb
        if file.distorted is not None:
            picture = undistort_picture(picture, file.distorted, view.camera)
    except PhotoError as error:
        raise fault(file.path, f"has changed since it was read: {reason(error)}") from error
    if picture.shape[:2] != (view.camera.height, view.camera.width):
        raise fault(file.path, f"has changed since it was read: {picture.shape[1]} x {picture.shape[0]} pixels now")
    return picture


def _write_photo(view: View, file: PhotoFile, target: Path) -> None:
    from recon.photos.decode import PhotoError
    from recon.photos.find import content_of

    if not file.plain:
        target.write_bytes(_jpeg(picture_of(view)))
        return
    try:
        content = content_of(file)
        target.write_bytes(content) if isinstance(content, bytes) else shutil.copyfile(content, target)
    except PhotoError as error:
        raise fault(file.path, f"has changed since it was read: {reason(error)}") from error


def _jpeg(picture: np.ndarray | None) -> bytes:
    import cv2

    assert picture is not None
    done, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, picture.shape
    return content.tobytes()


def _are(names: Sequence[str]) -> str:
    return f"{listed(names)} {'are' if len(names) > 1 else 'is'}"
