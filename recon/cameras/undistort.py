"""Contains photos and scenes without the distortion of their lenses: what works with pinholes takes these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.cameras.known import CamerasError, on_grid, scaled_to
from recon.photos.decode import Photo
from recon.photos.grid import images_of, load_images, photo_mask
from recon.photos.undistort import pinhole_for, undistort_picture, undistort_points
from recon.scene import Cameras, PhotoFile, Scene

if TYPE_CHECKING:
    from recon.scene import Images

FOLDERS = ("", "images", "input", "rgb")  # where programs put photos, beside a model or above it
LEVELS = 3


def undistorted(images: Images, cameras: Cameras) -> tuple[Images, Cameras]:
    """The photos without distortion on a grid as long as before, and their pinholes in pixels of the new photos; `cameras` know the old ones.

    What a crop leaves out is among the remarks. Raises ReconError.
    """
    photos, files, Ks, remarks = [], [], [], images.remarks.splitlines()
    for v, camera in enumerate(scaled_to(cameras, images)):
        file = images.files[v] if images.files else PhotoFile(path="")
        photo = Photo(
            name=images.names[v], rgb=images.photos[v] if images.photos else (images.rgb[v].cpu().numpy() * 255).round().astype(np.uint8),
            alpha=photo_mask(images, v) if images.photos else None, width=camera.width, height=camera.height, focal=float("nan"), plain=file.plain,
        )  # fmt: skip
        if camera.lenses and bool(camera.K.isfinite().all()):
            pinhole, remark = pinhole_for(camera)
            remarks += [f"{photo.name}: {remark}"] if remark else []
            alpha = None if photo.alpha is None else undistort_picture(photo.alpha.astype(np.uint8), camera, pinhole) > 0
            rgb = undistort_picture(photo.rgb, camera, pinhole)
            photo = replace(photo, rgb=rgb, alpha=alpha, width=pinhole.width, height=pinhole.height, plain=False)
            file, camera = replace(file, plain=False, distorted=camera), pinhole
        photos.append(photo)
        files.append(file)
        Ks.append(camera.K[0].double())
    out = images_of(photos, files if images.files else [], long_side=max(images.rgb.shape[1:3]), remarks=remarks)
    known = replace(
        cameras, K=torch.stack(Ks), lenses=(), width=int(out.photo_width.max()), height=int(out.photo_height.max()), photo_width=out.photo_width,
        photo_height=out.photo_height, grid_scale=torch.ones(len(out), 2), grid_offset=torch.zeros(len(out), 2),
    )  # fmt: skip
    return out, known


def undistorted_scene(scene: Scene, source: Path) -> Scene:
    """The scene of a camera file with its photos, which lie beside it, both without distortion. Raises ReconError where they do not."""
    names = scene.report.get("names") or []
    images = load_images(photos_beside(source, names))
    flat, pinholes = undistorted(images, scene.cameras)
    cameras = replace(on_grid(pinholes, flat), placed_by=scene.cameras.placed_by, confidence=scene.cameras.confidence)
    tracks = scene.tracks
    if tracks is not None and len(tracks.view):
        xy = tracks.xy.double().numpy().copy()
        for v, camera in enumerate(scene.cameras.for_photos()):
            rows = tracks.view.numpy() == v
            told = scaled_to(scene.cameras, images)[v]
            xy[rows] *= [told.width / camera.width, told.height / camera.height]
            if told.lenses:
                xy[rows] = undistort_points(xy[rows], told, pinholes.for_photos()[v])
            xy[rows] = xy[rows] * flat.grid_scale[v].numpy() + flat.grid_offset[v].numpy()
        seen = torch.from_numpy(np.isfinite(xy).all(1))
        tracks = replace(tracks, view=tracks.view[seen], point=tracks.point[seen], xy=torch.from_numpy(xy)[seen])
    return replace(scene, cameras=cameras, images=flat, tracks=tracks)


def photos_beside(source: Path, names: Sequence[str]) -> list[Path]:
    """The photos with these names in folders beside a camera file or above it. Raises CamerasError where one is missing."""
    start = source.resolve() if source.is_dir() else source.resolve().parent
    for above in [start, *start.parents][:LEVELS]:
        for folder in FOLDERS:
            found = [above / folder / name for name in names]
            if names and all(name and path.is_file() for name, path in zip(names, found, strict=True)):
                return found
    raise CamerasError(f"{source}: its photos are not beside it ({names[0] if names else 'it names none'}), and without them nothing is undistorted")
