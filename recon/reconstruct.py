"""The one call: photos in, Scene out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from recon.errors import ReconError

if TYPE_CHECKING:
    from torch import nn

    from recon.scene import Cameras, Images, Scene

MATCHES = ("both", "own", "sift", "none")
SURFACES = ("sweep", "pointmap")
PAIRS, PLACES = ("auto", "all", "sequence"), ("held", "all")


def pick_device(device: str | None) -> str:
    """The device asked for, or the best one here; ReconError for a device that torch does not know or this machine lacks."""
    if device is None or device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ReconError(f"device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def check_resolution(resolution: int) -> None:
    """ReconError for a long side that is too small to see anything in or too large for any machine."""
    if not 64 <= resolution <= 4096:
        raise ReconError(f"resolution is {resolution}, wanted 64 to 4096")


def reconstruct(
    photos: Sequence[str | Path] | str | Path | Images, *, model: str | nn.Module = "recon-small", weights: str | Path | None = None,
    cameras: Cameras | None = None, metric: bool = False, device: str | None = None, matches: Literal["both", "own", "sift", "none"] = "both",
    surfaces: Literal["sweep", "pointmap"] = "sweep", pairs: Literal["auto", "all", "sequence"] = "auto",
    place: Literal["held", "all"] = "held", resolution: int = 512, max_gaussians: int | None = None,
    progress: Callable[[str, float], None] | None = None, seed: int = 0,
) -> Scene:  # fmt: skip
    """The scene of the photos: cameras, pointmaps, Gaussians and tracks, on a pixel grid whose long side is `resolution`.

    `photos`: paths, a folder, videos, or Images; `model`: a name of `list_models()` or a loaded network (then `weights` and `device` are not used);
    `cameras`: known cameras (of `cameras_of_photos`, `read_cameras` or an earlier scene; NaN where unknown), kept as they are, photos of distorted
    lenses are undistorted; `metric`: the unit of their poses is a metre; `matches`: which correspondences place the views, the network's own, SIFT
    or both; `surfaces`: "sweep" sweeps each placed view against its neighbours (recon-mvs), "pointmap" takes the network's depth alone; `pairs`:
    which are matched, all, about six a view, or neighbours in order; `place`: "all" keeps the guess of views that nothing holds; `max_gaussians`:
    where there are more, those that are least seen are merged; `progress` is told what is done and the share done. Equal seeds give equal scenes on
    one machine. What a person should know is in `scene.report["warnings"]`.
    Raises ReconError for photos, names, weights or cameras that cannot be used.
    """
    from recon.cameras.undistort import undistorted
    from recon.models import load_model
    from recon.photos.checks import check_photos
    from recon.photos.grid import load_images
    from recon.photos.video import videos_as_photos
    from recon.scene import Images
    from recon.surfaces.budget import check_budget, within_budget

    if matches not in MATCHES:
        raise ReconError(f"unknown matches {matches!r}; one of: {', '.join(MATCHES)}")
    if pairs not in PAIRS:
        raise ReconError(f"unknown pairs {pairs!r}; one of: {', '.join(PAIRS)}")
    if place not in PLACES:
        raise ReconError(f"unknown place {place!r}; one of: {', '.join(PLACES)}")
    if surfaces not in SURFACES:
        raise ReconError(f"unknown surfaces {surfaces!r}; one of: {', '.join(SURFACES)}")
    check_resolution(resolution)
    check_budget(max_gaussians)
    if isinstance(photos, Images):
        images = photos
    else:
        paths = [photos] if isinstance(photos, str | Path) else list(photos)
        if not paths:
            raise ReconError("no photos were given")
        with videos_as_photos(paths) as there:
            images = load_images(there, long_side=resolution)
    check_photos(images)
    if cameras is not None and cameras.lenses:
        images, cameras = undistorted(images, cameras)
    given, offset = without_offset(placed_on(cameras, images, metric))
    if progress is not None:
        progress("weights", 0.0)
    net = load_model(model, weights=weights, device=pick_device(device), fast="once") if isinstance(model, str) else model
    import cv2

    cv2.setRNGSeed(seed % 2**31)  # RANSAC's draws; nothing else here is random
    scene = net(images, cameras=given, matches=matches, surfaces=surfaces, pairs=pairs, place=place, progress=progress, seed=seed)
    if max_gaussians is not None and scene.gaussians is not None:
        scene = replace(scene, gaussians=within_budget(scene.gaussians, max_gaussians, scene.cameras.cam_to_world[:, :3, 3]))
    return judged(replace(scene, offset=offset), given, metric=metric, matched=matches != "none")


def placed_on(cameras: Cameras | None, images: Images, metric: bool) -> Cameras | None:
    """The known cameras on the grid of the photos. Raises ReconError for those that do not fit, and for a metre without two places."""
    from recon.cameras.known import on_grid

    given = None if cameras is None else on_grid(cameras, images)
    if metric:
        poses = None if given is None else given.cam_to_world[given.cam_to_world.isfinite().flatten(1).all(1), :3, 3]
        if poses is None or len(poses) < 2 or float((poses - poses[0]).norm(dim=1).max()) <= 0:
            found = 0 if poses is None else len(poses)
            raise ReconError(f"metric=True says that given places are in metres, and {found} are given; wanted cameras=... with two or more apart")
    return given


def without_offset(given: Cameras | None) -> tuple[Cameras | None, tuple[float, float, float]]:
    """Cameras near the origin, and what was taken off: coordinates as large as the Earth's have no place in float32."""
    from recon.io.parts import far_offset

    offset = np.zeros(3) if given is None else far_offset([given.cam_to_world[:, :3, 3].double().cpu().numpy()])
    if given is not None and offset.any():
        poses = given.cam_to_world.double().clone()
        poses[:, :3, 3] -= torch.from_numpy(offset).to(poses)
        given = replace(given, cam_to_world=poses)
    return given, (float(offset[0]), float(offset[1]), float(offset[2]))


def judged(scene: Scene, given: Cameras | None, *, metric: bool, matched: bool) -> Scene:
    """The scene with what a person should know in `report["warnings"]`. Raises ReconError where nothing says that the photos show one scene."""
    from recon.photos.checks import CROP_CONFIDENCE, crop_warning, crops, photo_warnings, refuse_strangers, scene_warnings

    images, cameras = scene.images, scene.cameras
    assert images is not None
    if matched:
        refuse_strangers(scene)
    doubtful = crops(images, given)
    if doubtful and len(images) > 1:
        confidence = cameras.confidence.clone()
        confidence[doubtful] = confidence[doubtful].clamp(max=CROP_CONFIDENCE)
        scene = replace(scene, cameras=replace(cameras, confidence=confidence))
    warnings = [*photo_warnings(images), *(crop_warning(images, doubtful) if len(images) > 1 else []), *scene_warnings(scene)]
    measured = metric and scene.tracks is not None and len(scene.tracks) > 0
    if metric and not measured:
        warnings.append("no matches tie the depth to the given places: the scene is not in metres")
    return replace(scene, metric=measured or scene.metric, report={**scene.report, "warnings": warnings})
