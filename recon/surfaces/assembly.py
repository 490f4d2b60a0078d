"""Contains the Scene of posed depth maps: points and one Gaussian a pixel on the grid of the photos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.geometry import unproject
from recon.photos.moves import move_K, move_maps, move_points
from recon.scene import Cameras, Gaussians, Pointmaps, Scene, Tracks
from recon.surfaces.pixel_gaussians import pixel_gaussians

if TYPE_CHECKING:
    from recon.cameras.bundle import Bundle
    from recon.cameras.solve import Placed
    from recon.scene import Images


def assemble(
    images: Images, coarse: Images, fine: Images, placed: Placed, bundle: Bundle | None, *, log_depth: Tensor, confidence: Tensor, valid: Tensor,
    corrections: Tensor, report: dict[str, Any],
) -> Scene:  # fmt: skip
    """The scene on the grid of `images`, from maps on the grid `coarse`.

    log_depth [V, h, w] in the world's scale, confidence [V, h, w] >= 1, valid [V, h, w] 0..1, corrections [V, h, w, 13] of `pixel_gaussians`;
    `placed` and `bundle` are on the grid `fine`.
    """
    maps = move_maps(torch.stack([log_depth, confidence.log(), valid], 1), coarse, images)
    depth, sure = maps[:, 0].exp(), maps[:, 1].exp()
    mask = images.mask.cpu() & (maps[:, 2] > 0.5) & depth.isfinite()
    K = torch.as_tensor(move_K(placed.K, fine, images), dtype=torch.float32)
    T = torch.as_tensor(placed.cam_to_world, dtype=torch.float32)
    height, width = depth.shape[1:]
    moved = move_maps(corrections.permute(0, 3, 1, 2), coarse, images).permute(0, 2, 3, 1)
    means, quats, scales, opacities, sh = pixel_gaussians(unproject(depth, K), images.rgb.cpu().float(), sure, mask, K, T, moved)
    cameras = Cameras(
        K=K, cam_to_world=T, width=width, height=height, placed_by=placed.placed_by,
        confidence=torch.as_tensor(placed.confidence, dtype=torch.float32),
    )
    return Scene(
        images=images, cameras=cameras, depth=depth, pointmaps=Pointmaps(points=unproject(depth, K, T), confidence=sure, mask=mask),
        gaussians=Gaussians(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh), tracks=scene_tracks(bundle, fine, images),
        metric=False, report=report,
    )  # fmt: skip


def scene_tracks(bundle: Bundle | None, fine: Images, images: Images) -> Tracks | None:
    """The bundle's points and observations in pixels of `images`; None without a bundle."""
    if bundle is None or not len(bundle.points):
        return None
    xy = move_points(bundle.xy, bundle.view, fine, images)
    return Tracks(
        points=torch.as_tensor(bundle.points, dtype=torch.float32), view=torch.as_tensor(bundle.view), point=torch.as_tensor(bundle.point),
        xy=torch.as_tensor(xy, dtype=torch.float32), error=torch.as_tensor(bundle.error, dtype=torch.float32),
    )  # fmt: skip
