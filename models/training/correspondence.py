"""Contains exact pointmaps and correspondences from the depth and cameras of training scenes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.recon_small.network import COARSE_STRIDE

OCCLUSION = 0.03  # relative depth difference beyond which something stands before the point
SMOOTH = 1.05  # ratio of the depths around a cell's centre up to which it lies on one surface


def unproject(depth: Tensor, cameras: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Points [B, V, h, w, 3] in camera axes at pixels x, y [h, w] with depth [B, V, h, w]; cameras [B, V, 16] (see viewpoints.draw_cameras)."""
    fx, fy, cx, cy = (cameras[..., k, None, None] for k in (12, 13, 14, 15))
    return torch.stack([(x - cx) / fx * depth, (y - cy) / fy * depth, depth], -1)


def to_reference(points: Tensor, cameras: Tensor) -> Tensor:  # [B, V, h, w, 3] -> [B, V, h, w, 3]
    """Points in each camera's axes carried to the axes of camera 0."""
    world = torch.einsum("bvij,bvhwj->bvhwi", rotations(cameras), points) + cameras[:, :, None, None, 9:12]
    return torch.einsum("bji,bvhwj->bvhwi", rotations(cameras)[:, 0], world - cameras[:, :1, None, None, 9:12])


def rotations(cameras: Tensor) -> Tensor:  # [B, V, 16] -> [B, V, 3, 3] camera to world
    """The rotations of camera rows."""
    return cameras[..., :9].unflatten(-1, (3, 3))


def pixel_centres(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:  # [H, W] each
    """x and y of the pixel centres."""
    y, x = torch.meshgrid(torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij")
    return x, y


def cell_depth(depth: Tensor, stride: int = COARSE_STRIDE) -> tuple[Tensor, Tensor]:  # [B, V, H, W] -> [B, V, h, w] and bool
    """Depth at the centres of the cells, which lie between four pixels, and where those four see one surface.

    1/z is linear in the image of a plane, so that the mean of the four inverses is exact there.
    """
    a = stride // 2 - 1
    four = torch.stack([depth[..., a + i :: stride, a + j :: stride] for i in (0, 1) for j in (0, 1)])
    some = four.clamp(min=1e-6)
    return 1 / (1 / some).mean(0), (four.amin(0) > 0) & (some.amax(0) < SMOOTH * some.amin(0))


def correspond(depth: Tensor, cameras: Tensor, pairs: list[tuple[int, int]]) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """For each pair (i, j): where the stride-8 cell centres of view i lie in view j, pixels [B, h8, w8, 2], and which are seen there [B, h8, w8]."""
    height, width = depth.shape[-2:]
    z, smooth = cell_depth(depth)
    centre_y, centre_x = (torch.arange(n, device=depth.device) * COARSE_STRIDE + COARSE_STRIDE / 2 for n in z.shape[-2:])
    local = unproject(z, cameras, centre_x.expand(z.shape[-2:]), centre_y[:, None].expand(z.shape[-2:]))
    found = {}
    for i, j in pairs:
        world = torch.einsum("bij,bhwj->bhwi", rotations(cameras)[:, i], local[:, i]) + cameras[:, i, None, None, 9:12]
        p = torch.einsum("bji,bhwj->bhwi", rotations(cameras)[:, j], world - cameras[:, j, None, None, 9:12])
        front = p[..., 2].clamp(min=1e-3)
        camera = cameras[:, j, None, None]
        uv = torch.stack([p[..., 0] / front * camera[..., 12] + camera[..., 14], p[..., 1] / front * camera[..., 13] + camera[..., 15]], -1)
        size = uv.new_tensor([width, height])
        there = F.grid_sample(depth[:, j, None], uv / size * 2 - 1, align_corners=False, mode="nearest")[:, 0]
        inside = ((uv > 0) & (uv < size)).all(-1) & (p[..., 2] > 0.05)
        seen = smooth[:, i] & inside & ((there - p[..., 2]).abs() < OCCLUSION * p[..., 2])
        found[(i, j)] = (uv, seen)
    return found
