"""Novel views: a photo that was not used, drawn from the Gaussians of its neighbours, beside the photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from surface_depth import Reconstruct, Row  # pyright: ignore[reportMissingImports]
from surface_pictures import Sheet  # pyright: ignore[reportMissingImports]
from surface_views import posed, surrounding, targets  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.nn import functional as F

import recon
from recon.evaluate import PhotoSet
from recon.scene import Cameras, Scene

TARGETS = 3
WHITE = (1.0, 1.0, 1.0)


def half(x: Tensor) -> Tensor:  # [H, W, C] -> [H/2, W/2, C]
    """The mean of each 2 x 2 pixels."""
    return F.interpolate(x.permute(2, 0, 1)[None], scale_factor=0.5, mode="area")[0].permute(1, 2, 0)


def compared(rendering: recon.Rendering, photo: Tensor, mask: Tensor) -> Row:
    """PSNR at half size where the scene covers the photo (alpha above one half), and the share of the photo that it covers."""
    covered = (rendering.alpha[0] > 0.5) & mask
    inside = half(covered[..., None].float())[..., 0] > 0.99
    error = (half(rendering.color[0]) - half(photo)).square().mean(-1)[inside]
    return {"psnr": float(-10 * error.mean().log10()), "coverage": float(covered.sum() / mask.sum())}


def novel_view_figures(
    photos: PhotoSet, reconstruct: Reconstruct, sheet: Sheet, *, long_side: int, sources: int, given: bool = True
) -> Row:  # fmt: skip
    """Means over the targets, each drawn from the `sources` photos around it; not given: the cameras of these are found from the photos alone."""
    rows: list[dict[str, Any]] = []
    for target in targets(photos, TARGETS):
        chosen = [*surrounding(photos, target, sources), target]
        images, truth = posed([photos.views[i] for i in chosen], long_side)
        known = truth[list(range(sources))]
        scene = reconstruct(images[list(range(sources))], known if given else None)
        camera = truth[[sources]] if given else carried_over(truth, scene)
        assert scene.gaussians is not None
        rendering = recon.render(scene.gaussians, camera, backend="cpu", background=WHITE)
        rows.append(compared(rendering, images.rgb[sources], images.mask[sources]))
        rows[-1]["gaussians"] = len(scene.gaussians)
        kind = f"from_{sources}" if given else "alone"
        sheet.view(f"{kind}_{photos.name}_{target}", images.rgb[sources], rendering)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} | {"each": [round(row["psnr"], 2) for row in rows]}


def carried_over(truth: Cameras, scene: Scene) -> Cameras:
    """The last of the true cameras, in the world of a scene made of the first two: the orientation of the first holds, the distance of the two is the
    unit of length, and lens and principal point are those that the scene found for its first view, changed as the true ones change."""
    found = scene.cameras
    unit = lambda cameras: (cameras.cam_to_world[1, :3, 3] - cameras.cam_to_world[0, :3, 3]).norm()
    relative = truth.world_to_cam[0] @ truth.cam_to_world[-1]
    relative[:3, 3] *= unit(found) / unit(truth)
    K = found.K[0].clone()
    K[[0, 1], [0, 1]] *= truth.K[-1].diagonal()[:2] / truth.K[0].diagonal()[:2]
    K[:2, 2] += truth.K[-1, :2, 2] - truth.K[0, :2, 2]
    return Cameras(K=K[None], cam_to_world=torch.as_tensor(found.cam_to_world[0] @ relative)[None], width=found.width, height=found.height)
