"""Contains the Scene of posed depth maps: points and one Gaussian a pixel on the grid of the photos."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import unproject
from recon.photos.moves import move_K, move_maps, move_points
from recon.scene import Cameras, Gaussians, Pointmaps, Scene, Tracks
from recon.surfaces.depth_maps import DepthMaps
from recon.surfaces.exposure import alike, exposure_shifts, local_differences
from recon.surfaces.merging import contradicted, finest_first, fuse_depth, off_surface, one_layer
from recon.surfaces.pixel_gaussians import pixel_gaussians

if TYPE_CHECKING:
    from recon.cameras.bundle import Bundle
    from recon.cameras.solve import Placed
    from recon.scene import Images

RIM = 2  # pixels
ON_DEVICE = 1 << 21  # pixels of a view whose Gaussians are worked out beside the processor: about 1 GB
UNSURE = 0.3  # expected relative error from which on a pixel is left out
HANGS = 0.06  # step in log depth, between whose ends a pixel hangs in the air
NOTHING, SURELY_NOTHING = 0.5, 0.05  # validity below which a pixel may be sky or backdrop, and is
NEAR = 1 / 32  # of the long side: how near to what is surely nothing


def assemble(
    images: Images, grid: Images, matched: Images, placed: Placed, bundle: Bundle | None, maps: DepthMaps, partners: list[list[int]], *,
    report: dict[str, Any], device: torch.device | str = "cpu",
) -> Scene:  # fmt: skip
    """The scene on the grid of `images`, from depth maps on the grid `grid`; `placed` and `bundle` are on the grid `matched`.

    partners: the views whose depth was checked against each other and is merged to one layer; none where every view stands alone. Pixels that hang
    between two surfaces or are unsure are left out of the mask, and of points and Gaussians. The Gaussians are worked out on `device`.
    """
    corrections = maps.corrections  # thirteen numbers a pixel: moved view by view, as the Gaussians are made
    maps = replace(maps, corrections=None).moved(grid, images)
    K = torch.as_tensor(move_K(placed.K, matched, images), dtype=torch.float32)
    T = torch.as_tensor(placed.cam_to_world, dtype=torch.float32)
    unplaced = torch.tensor([by == "unplaced" for by in placed.placed_by])
    mask = images.mask.cpu() & on_surface(maps) & ~rim(images) & ~unplaced[:, None, None]
    mask &= ~contradicted(maps.depth, maps.seen & mask, K, T, partners)
    depth = fuse_depth(maps.depth, maps.relative_error, mask, K, T, partners)
    layer = one_layer(depth, mask, K, T, partners, finest_first(depth, mask, K).tolist())
    sure = maps.confidence
    shift = exposure_shifts(images.rgb, depth, mask, K, T, partners)
    differences = local_differences(images.rgb, depth, mask, K, T, partners, shift)
    gaussians = gaussians_of(images, grid, depth, sure, layer, K, T, corrections, shift, differences, device)
    cameras = Cameras(
        K=K, cam_to_world=torch.where(unplaced[:, None, None], torch.nan, T), width=depth.shape[2], height=depth.shape[1], placed_by=placed.placed_by,
        confidence=torch.as_tensor(placed.confidence, dtype=torch.float32),
    )
    return Scene(
        images=images, cameras=cameras, depth=depth, pointmaps=Pointmaps(points=unproject(depth, K, T), confidence=sure, mask=mask, layer=layer),
        gaussians=gaussians, tracks=scene_tracks(bundle, matched, images), report=report,
    )  # fmt: skip


def gaussians_of(
    images: Images, grid: Images, depth: Tensor, confidence: Tensor, layer: Tensor, K: Tensor, cam_to_world: Tensor, corrections: Tensor | None,
    shift: Tensor, differences: Tensor, device: torch.device | str,
) -> Gaussians:  # fmt: skip
    """One Gaussian for each pixel of the layer, view after view: all at once their making takes ten times the memory of the result.

    depth, confidence and layer [V, H, W] on the grid of `images`, corrections [V, h, w, 13] on `grid`; shift [V, 3]
    and differences [V, 3, h, w]: see exposure.py. All of it comes
    and goes back where `depth` is; each view is worked out on `device`, where it fits.
    """
    device = device if depth[0].numel() <= ON_DEVICE else depth.device
    ends = layer.sum((1, 2)).cumsum(0).tolist()
    new = lambda *shape: torch.empty(ends[-1], *shape)
    out = new(3), new(4), new(3), new(), new(1, 3)
    for v, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        there = lambda x, v=v: x[v : v + 1].to(device)
        more = None
        if corrections is not None and grid is images:
            more = there(corrections)
        elif corrections is not None:
            more = move_maps(there(corrections).permute(0, 3, 1, 2), grid[v], images[v]).permute(0, 2, 3, 1)
        rgb, lens = alike(there(images.rgb).float(), there(shift), there(differences)), there(K)
        rows = pixel_gaussians(unproject(there(depth), lens), rgb, there(confidence), there(layer), lens, there(cam_to_world), more)
        for whole, part in zip(out, rows, strict=True):
            whole[start:end] = part
    return Gaussians(means=out[0], quats=out[1], scales=out[2], opacities=out[3], sh=out[4])


def rim(images: Images) -> Tensor:  # [H, W] bool
    """The outermost pixels of the grid: photos have dark or bled lines there, and no network sees what lies beyond."""
    height, width = images.rgb.shape[1:3]
    out = torch.ones(height, width, dtype=torch.bool)
    out[RIM:-RIM, RIM:-RIM] = False
    return out


def on_surface(maps: DepthMaps) -> Tensor:  # [V, h, w] bool
    """The pixels that are shown: something is there, its depth is sure enough, and it does not hang between two surfaces."""
    return ~nothing(maps.valid) & maps.depth.isfinite() & (maps.relative_error < UNSURE) & ~off_surface(maps.depth, HANGS)


def nothing(valid: Tensor) -> Tensor:  # [V, h, w] 0..1 -> [V, h, w] bool
    """The pixels of sky or backdrop: what looks like nothing, near to what surely is.

    Networks that have learnt from drawn scenes half doubt black cloth, haze and plain walls, all over; before a true backdrop they are sure, and
    doubt its rim alone.
    """
    reach = round(NEAR * max(valid.shape[1:]))
    least = -F.max_pool2d(F.max_pool2d(-valid[:, None], (2 * reach + 1, 1), 1, (reach, 0)), (1, 2 * reach + 1), 1, (0, reach))[:, 0]
    return (valid < NOTHING) & (least < SURELY_NOTHING)


def scene_tracks(bundle: Bundle | None, fine: Images, images: Images) -> Tracks | None:
    """The bundle's points and observations in pixels of `images`; None without a bundle."""
    if bundle is None or not len(bundle.points):
        return None
    xy = move_points(bundle.xy, bundle.view, fine, images)
    return Tracks(
        points=torch.as_tensor(bundle.points, dtype=torch.float32), view=torch.as_tensor(bundle.view), point=torch.as_tensor(bundle.point),
        xy=torch.as_tensor(xy, dtype=torch.float32), error=torch.as_tensor(bundle.error, dtype=torch.float32),
    )  # fmt: skip
