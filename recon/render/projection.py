"""Gaussians and surfels to splats on one camera's screen, in plain PyTorch: differentiable, on any device, in any float type.

EWA splatting (Zwicker et al. 2001) as in 3D Gaussian Splatting (Kerbl et al. 2023); surfels as in 2D Gaussian Splatting (Huang et al. 2024);
anti-aliasing as in Mip-Splatting (Yu et al. 2024); the opacity-aware box as in StopThePop (Radl et al. 2024, appendix B.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon import spherical_harmonics
from recon.geometry import invert_rigid, quats_to_matrices
from recon.render.options import DILATION, FIELD_MARGIN, MIN_ALPHA, SURFEL_FILTER, RenderOptions
from recon.scene import Gaussians


@dataclass(frozen=True, kw_only=True)
class Splats:
    """What one camera sees, nearest first: M of the N Gaussians."""

    xy: Tensor  # [M, 2] pixels
    form: Tensor  # Gaussians [M, 3]: u = form0 dx + form1 dy, v = form2 dy, density exp(-(u^2 + v^2) / 2); surfels [M, 3, 3]: (u, v, 1) to screen
    opacity: Tensor  # [M]
    color: Tensor  # [M, 3]
    depth: Tensor  # [M] z
    normal: Tensor  # [M, 3] world, towards the camera
    box: Tensor  # [M, 4] x0, y0, x1, y1 in pixels: nothing is drawn outside; no gradient

    def __len__(self) -> int:
        return len(self.xy)


def project_splats(gaussians: Gaussians, K: Tensor, cam_to_world: Tensor, width: int, height: int, options: RenderOptions) -> Splats:
    """The splats of one camera: K [3, 3] in pixels, cam_to_world [4, 4]; the gradient reaches everything but the cameras' choice of splats."""
    world_to_cam = invert_rigid(cam_to_world)
    W, t = world_to_cam[:3, :3], world_to_cam[:3, 3]
    local = gaussians.means @ W.T + t
    shown = torch.nonzero((local[:, 2] >= options.near) & (local[:, 2] <= options.far) & (gaussians.opacities >= MIN_ALPHA))[:, 0]
    g, local = gaussians[shown], local[shown]
    R = quats_to_matrices(g.quats)
    flat = options.primitive == "surfel"
    opacity = g.opacities
    if flat:
        form, xy, box, radius = _surfel(local, W @ R, g.scales, opacity.detach(), K, width, height)
    else:
        form, xy, spread, filtered = _gaussian(local, W @ R * g.scales[:, None, :], K, width, height)
        opacity = opacity * filtered if options.antialiased else opacity
        radius = torch.ceil(extent(opacity.detach())[:, None] * spread.detach())
        box = torch.cat([xy.detach() - radius, xy.detach() + radius], -1)
    x0, y0, x1, y1 = box.unbind(-1)
    on_screen = (x1 > 0) & (x0 < width) & (y1 > 0) & (y0 < height) & (opacity >= MIN_ALPHA) & (radius > options.radius_clip).any(-1)
    order = torch.argsort(local[:, 2].detach(), stable=True)
    order = order[on_screen[order]]
    offset = g.means[order] - cam_to_world[:3, 3]
    axis = torch.full_like(order, 2) if flat else g.scales[order].argmin(-1)
    normal = R[order].gather(2, axis[:, None, None].expand(-1, 3, 1))[..., 0]
    normal = torch.where((normal * offset).sum(-1, keepdim=True) > 0, -normal, normal)
    color = spherical_harmonics.colors(g.sh[order], torch.nn.functional.normalize(offset, dim=-1))
    return Splats(xy=xy[order], form=form[order], opacity=opacity[order], color=color, depth=local[order, 2], normal=normal, box=box[order])


def extent(opacity: Tensor) -> Tensor:
    """Standard deviations [M] beyond which a splat of this opacity covers less than MIN_ALPHA."""
    return (2 * (opacity / MIN_ALPHA).clamp(min=1).log()).sqrt()


def _gaussian(local: Tensor, axes: Tensor, K: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """form [M, 3], centres [M, 2], standard deviations in x and y [M, 2], and the filter's share of light [M]; axes [M, 3, 3] in camera axes."""
    fx, fy, skew, cx, cy = K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2]
    x, y, z = local.unbind(-1)
    margin_x, margin_y = FIELD_MARGIN * width / fx, FIELD_MARGIN * height / fy
    a = torch.minimum(torch.maximum(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    b = torch.minimum(torch.maximum(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    row_x = (fx * axes[:, 0] + skew * axes[:, 1] - (fx * a + skew * b)[:, None] * axes[:, 2]) / z[:, None]
    row_y = fy * (axes[:, 1] - b[:, None] * axes[:, 2]) / z[:, None]
    # the determinant from the cross product: xx * yy - xy^2 cancels for needles
    det = torch.linalg.cross(row_x, row_y).square().sum(-1)
    xx, xy, yy = row_x.square().sum(-1), (row_x * row_y).sum(-1), row_y.square().sum(-1)
    wide = det + DILATION * (xx + yy) + DILATION**2
    xx, yy = xx + DILATION, yy + DILATION
    root = yy.sqrt()
    form = torch.stack([root / wide.sqrt(), -xy / (wide.sqrt() * root), 1 / root], -1)
    centre = torch.stack([(fx * x + skew * y) / z + cx, fy * y / z + cy], -1)
    # the clamp keeps the gradient of the root finite where a splat has no area
    return form, centre, torch.stack([xx, yy], -1).sqrt(), (det / wide).clamp(min=torch.finfo(det.dtype).tiny).sqrt()


def _surfel(local: Tensor, R: Tensor, scales: Tensor, opacity: Tensor, K: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """form [M, 3, 3] (rows x, y, w of the screen), centres [M, 2], boxes [M, 4] and radii [M, 2]; R [M, 3, 3] local to camera axes."""
    plane = torch.stack([R[:, :, 0] * scales[:, :1], R[:, :, 1] * scales[:, 1:2], local], -1)
    form = K @ plane
    centre = form[:, :2, 2] / form[:, 2:, 2]
    # the box of a projected ellipse (2DGS, eq. 11 with radius r): roots of a quadratic; an ellipse that reaches behind the camera gets the image
    m, reach = form.detach(), extent(opacity)
    weight = torch.stack([reach**2, reach**2, -torch.ones_like(reach)], -1)[:, None]
    distance = (weight[:, 0] * m[:, 2] ** 2).sum(-1, keepdim=True)
    middle = (weight * m[:, :2] * m[:, 2:]).sum(-1) / distance
    half = (middle**2 - (weight * m[:, :2] ** 2).sum(-1) / distance).clamp(min=0).sqrt()
    filtered = (reach / math.sqrt(SURFEL_FILTER))[:, None]
    low = torch.minimum(middle - half, centre.detach() - filtered)
    high = torch.maximum(middle + half, centre.detach() + filtered)
    behind, size = distance >= 0, low.new_tensor([width, height])
    box = torch.cat([torch.where(behind, torch.zeros_like(low), low), torch.where(behind, size, high)], -1)
    return form, centre, box, torch.ceil((box[:, 2:] - box[:, :2]) / 2)
