"""The one call: photos in, Scene out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
    cameras: Cameras | None = None, device: str | None = None, matches: Literal["both", "own", "sift", "none"] = "both",
    surfaces: Literal["sweep", "pointmap"] = "sweep", metric: bool = False, pairs: Literal["auto", "all", "sequence"] = "auto",
    place: Literal["held", "all"] = "held", resolution: int = 512,
    progress: Callable[[str, float], None] | None = None, seed: int = 0,
) -> Scene:  # fmt: skip
    """The scene of the photos: cameras, pointmaps, Gaussians and tracks, on a pixel grid whose long side is `resolution`.

    `photos`: paths, a folder, videos, or Images; `model`: a name of `list_models()` or a loaded network (then `weights` and `device` are not used);
    `cameras`: known cameras on that grid (NaN where unknown), kept as they are, in metres if `metric`; `matches`: which correspondences place the
    views, the network's own, SIFT or both; `surfaces`: "sweep" sweeps each placed view against its neighbours (recon-mvs), "pointmap" takes the
    network's depth alone; `pairs`: which are matched, all, about six a view, or neighbours in order; `place`: "all" keeps the network's guess of
    views that nothing holds; `progress` is told what is done and the share done. Equal seeds give equal scenes on one machine.
    Raises ReconError for photos, names, weights or cameras that cannot be used.
    """
    from recon.models import load_model
    from recon.photos.grid import load_images
    from recon.photos.video import videos_as_photos
    from recon.scene import Images

    if matches not in MATCHES:
        raise ReconError(f"unknown matches {matches!r}; one of: {', '.join(MATCHES)}")
    if pairs not in PAIRS:
        raise ReconError(f"unknown pairs {pairs!r}; one of: {', '.join(PAIRS)}")
    if place not in PLACES:
        raise ReconError(f"unknown place {place!r}; one of: {', '.join(PLACES)}")
    if surfaces not in SURFACES:
        raise ReconError(f"unknown surfaces {surfaces!r}; one of: {', '.join(SURFACES)}")
    check_resolution(resolution)
    net = load_model(model, weights=weights, device=pick_device(device)) if isinstance(model, str) else model
    if isinstance(photos, Images):
        images = photos
    else:
        paths = [photos] if isinstance(photos, str | Path) else list(photos)
        if not paths:
            raise ReconError("no photos were given")
        with videos_as_photos(paths) as there:
            images = load_images(there, long_side=resolution)
    if cameras is not None and len(cameras.K) != len(images.rgb):
        raise ReconError(f"{len(cameras.K)} cameras were given for {len(images.rgb)} photos")
    import cv2

    cv2.setRNGSeed(seed % 2**31)  # RANSAC's draws; nothing else here is random
    return net(images, cameras=cameras, matches=matches, surfaces=surfaces, metric=metric, pairs=pairs, place=place, progress=progress, seed=seed)
