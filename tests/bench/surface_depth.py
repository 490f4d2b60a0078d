"""Depth figures of surfaces: against true depth maps, against the disparity of stereo pairs, and how far confidence is to be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from surface_pictures import Sheet  # pyright: ignore[reportMissingImports]
from surface_views import cameras_on, groups, posed  # pyright: ignore[reportMissingImports]

from recon.evaluate import PhotoSet, depth_truth, sample
from recon.photos.grid import load_images
from recon.scene import Cameras, Images, Scene

Reconstruct = Callable[[Images, Cameras | None], Scene]
Row = dict[str, Any]
FAR_OFF, OFF_PX = 0.05, 3.0  # what counts as wrong: of the depth, and of the disparity in pixels of the pair
STEREO_LONG_SIDE, STEREO_FOCAL = 768, 1.2  # the pairs' lens is not known and does not matter: focal length by the long side


@dataclass(frozen=True)
class Errors:
    """One view's depth at the known pixels of its truth."""

    relative: np.ndarray  # [n] after one median scale
    unscaled: np.ndarray  # [n] without it
    confidence: np.ndarray  # [n]
    kept: np.ndarray  # [n] bool: in the pointmap's mask


def errors_of(scene: Scene, index: int, truth: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Errors:
    """Errors of view `index` against `depth_truth`."""
    xy, true, mask = truth
    assert scene.images is not None and scene.depth is not None and scene.pointmaps is not None
    xy = xy * scene.images.grid_scale[index].numpy() + scene.images.grid_offset[index].numpy()
    depth = sample(scene.depth[index].double().numpy(), xy)
    known = mask & (true > 0) & np.isfinite(depth) & (depth > 0)
    xy, depth, true = xy[known], depth[known], true[known]
    at = lambda maps: sample(maps[index].double().numpy(), xy)
    return Errors(
        relative=np.abs(depth * np.median(true / depth) / true - 1), unscaled=np.abs(depth / true - 1),
        confidence=at(scene.pointmaps.confidence), kept=at(scene.pointmaps.mask) > 0.5,
    )  # fmt: skip


def confidence_ratio(errors: list[Errors]) -> float:
    """Median error of the pixels that are surer than half of all, over that of the others; NaN where all are equally sure."""
    relative, confidence = (np.concatenate([getattr(e, name) for e in errors]) for name in ("relative", "confidence"))
    middle = np.median(confidence)
    surer = confidence > middle if (confidence > middle).any() else confidence >= middle  # more than half may be as sure as can be said
    return float(np.median(relative[surer]) / np.median(relative[~surer])) if not surer.all() else float("nan")


def depth_figures(photos: PhotoSet, reconstruct: Reconstruct, sheet: Sheet, *, long_side: int) -> Row:
    """Depth of groups of four views with given cameras: means over the views."""
    views: list[Errors] = []
    for group in groups(photos, size=4, count=3):
        chosen = [photos.views[i] for i in group]
        images, cameras = posed(chosen, long_side)
        scene = reconstruct(images, cameras)
        views += [errors_of(scene, i, depth_truth(view)) for i, view in enumerate(chosen)]
        sheet.depth(f"depth_{photos.name}_{group[0]}", scene, 0)
    mean = lambda value: float(np.mean([value(e) for e in views]))
    return {
        "absrel": mean(lambda e: e.relative.mean()), "off": mean(lambda e: (e.relative > FAR_OFF).mean()),
        "absrel_unscaled": mean(lambda e: e.unscaled.mean()), "absrel_kept": mean(lambda e: e.relative[e.kept].mean()),
        "kept": mean(lambda e: e.kept.mean()), "surer_over_others": confidence_ratio(views),
    }  # fmt: skip


def stereo_figures(folder: Path, reconstruct: Reconstruct, sheet: Sheet) -> Row:
    """A rectified pair (left: im2, right: im6) given as two cameras that stand one unit apart along x."""
    images = load_images([folder / "images" / name for name in ("im2.png", "im6.png")], long_side=STEREO_LONG_SIDE)
    scale, offset = images.grid_scale.double().numpy(), images.grid_offset.double().numpy()
    middle = np.stack([images.photo_width.numpy(), images.photo_height.numpy()], 1) / 2 * scale + offset
    focal = STEREO_FOCAL * STEREO_LONG_SIDE
    K, cam_to_world = np.tile(np.diag([focal, focal, 1.0]), (2, 1, 1)), np.tile(np.eye(4), (2, 1, 1))
    K[:, :2, 2], cam_to_world[1, 0, 3] = middle, 1.0
    scene = reconstruct(images, cameras_on(images, K, cam_to_world))
    sheet.depth(f"stereo_{folder.name}", scene, 0)
    truth = np.load(folder / "depth" / "im2_disp.npz")["disp"].astype(float)  # pixels of the photo, 0: unknown
    height, width = truth.shape
    xy = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    assert scene.depth is not None and scene.pointmaps is not None
    at = lambda x: sample(x[0].double().numpy(), xy * scale[0] + offset[0])
    true = truth.reshape(-1)
    known = true > 0
    disparity = focal / at(scene.depth) / scale[0, 0]
    off = ~(np.abs(disparity - true) <= OFF_PX)  # what has no depth is off too
    kept = known & (at(scene.pointmaps.mask) > 0.5)
    absrel = float(np.nanmean(np.abs(true / disparity - 1)[known]))
    return {"off": float(off[known].mean()), "off_kept": float(off[kept].mean()), "kept": float(kept.sum() / known.sum()), "absrel": absrel}
