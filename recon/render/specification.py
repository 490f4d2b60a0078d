"""The renderer's specification: splats blended front to back in plain PyTorch, differentiable, tile by tile so that memory stays bounded.

A pixel takes its splats by increasing z. Splat i covers a share alpha_i = min(MAX_ALPHA, opacity * density); what is below MIN_ALPHA is skipped;
the pixel ends before the splat that would bring the transmittance T = prod(1 - alpha) to MIN_TRANSMITTANCE. Colour is the sum of T alpha c plus
the remaining T times the background, alpha is 1 - T, depth the mean z (weights T alpha), median depth the z of the splat at which T falls to 0.5
(0 where it never does), normals the normalised mean of the splats' normals in world axes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recon.geometry import pixel_grid
from recon.render.options import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, SURFEL_FILTER, RenderOptions
from recon.render.projection import Splats, project_splats
from recon.scene import Cameras, Gaussians, Rendering

TILE = 16
CHUNK_ELEMENTS = 2**18  # pixels times splats looked at together
CHANNELS = 9  # colour 3, alpha, depth, median depth, normal 3


def render_torch(gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Rendering:
    """Pictures of the Gaussians on their own device and in their own float type; the gradient reaches the Gaussians and the cameras."""
    like = gaussians.means
    pictures = []
    for c in range(len(cameras)):
        splats = project_splats(gaussians, cameras.K[c].to(like), cameras.cam_to_world[c].to(like), cameras.width, cameras.height, options)
        background = like.new_zeros(3) if options.background is None else options.background[c].to(like)
        pictures.append(_picture(splats, cameras.width, cameras.height, background))
    stack = torch.stack(pictures) if pictures else like.new_zeros(0, cameras.height, cameras.width, CHANNELS)
    alpha = stack[..., 3]
    return Rendering(
        color=stack[..., :3],
        alpha=alpha,
        depth=stack[..., 4] / alpha.clamp(min=1e-10),
        median_depth=stack[..., 5] if "median_depth" in options.extras else None,
        normals=torch.nn.functional.normalize(stack[..., 6:], dim=-1) if "normals" in options.extras else None,
    )


def tile_lists(box: Tensor, width: int, height: int, tile: int) -> tuple[Tensor, Tensor]:
    """Splat numbers [pairs], tile by tile in the splats' order, and where each tile's begin [tiles + 1]; box [M, 4] in pixels."""
    columns, rows = -(-width // tile), -(-height // tile)
    limit = box.new_tensor([columns, rows])
    first = torch.minimum((box[:, :2] / tile).floor().clamp(min=0), limit).long()
    last = torch.minimum((box[:, 2:] / tile).ceil().clamp(min=0), limit).long()
    wide, high = (last - first).clamp(min=0).unbind(-1)
    count = wide * high
    splat = torch.repeat_interleave(torch.arange(len(box), device=box.device), count)
    place = torch.arange(len(splat), device=box.device) - (count.cumsum(0) - count)[splat]
    number = (first[splat, 1] + place // wide[splat]) * columns + first[splat, 0] + place % wide[splat]
    order = torch.argsort(number, stable=True)
    starts = torch.searchsorted(number[order], torch.arange(columns * rows + 1, device=box.device))
    return splat[order], starts


def _picture(splats: Splats, width: int, height: int, background: Tensor) -> Tensor:  # [H, W, CHANNELS]
    pixels = pixel_grid(height, width, device=background.device, dtype=background.dtype)
    columns, rows = -(-width // TILE), -(-height // TILE)
    splat, starts = tile_lists(splats.box, width, height, TILE)
    bounds = starts.tolist()
    needs_gradient = torch.is_grad_enabled() and splats.opacity.requires_grad | splats.xy.requires_grad | splats.color.requires_grad
    lines = []
    for row in range(rows):
        line = []
        for column in range(columns):
            tile = pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            chosen = splat[bounds[row * columns + column] : bounds[row * columns + column + 1]]
            arguments = (splats, chosen, tile.reshape(-1, 2), background)
            # with gradients only the inputs of a tile are kept, and the tile is computed again on the way back
            values = checkpoint(_blend, *arguments, use_reentrant=False) if needs_gradient else _blend(*arguments)
            assert isinstance(values, Tensor)
            line.append(values.reshape(*tile.shape[:2], CHANNELS))
        lines.append(torch.cat(line, 1))
    return torch.cat(lines, 0)


def _blend(splats: Splats, chosen: Tensor, pixels: Tensor, background: Tensor) -> Tensor:  # [n], [P, 2], [3] -> [P, CHANNELS]
    light = torch.ones_like(pixels[:, 0])  # transmittance as if no pixel ever ended
    left = light  # transmittance behind the splats drawn
    total = pixels.new_zeros(len(pixels), CHANNELS - 1)
    for ids in chosen.split(max(1, CHUNK_ELEMENTS // len(pixels))) if len(chosen) else ():
        alpha = _alpha(splats, ids, pixels)
        after = light[:, None] * torch.cumprod(1 - alpha, 1)
        before = torch.cat([light[:, None], after[:, :-1]], 1)
        drawn = after > MIN_TRANSMITTANCE  # never true again once false: `after` only falls
        weight = torch.where(drawn, alpha * before, torch.zeros_like(alpha))
        crossing = (before > 0.5) & (after <= 0.5)
        depth = splats.depth[ids]
        values = torch.cat([splats.color[ids], depth[:, None], splats.normal[ids]], -1)
        sums = weight @ values
        total = total + torch.cat([sums[:, :4], (crossing * depth).sum(1, keepdim=True), sums[:, 4:]], -1)
        left = left * torch.where(drawn, 1 - alpha, torch.ones_like(alpha)).prod(1)
        light = after[:, -1]
        if not bool((light > MIN_TRANSMITTANCE).any()):
            break
    color = total[:, :3] + left[:, None] * background
    return torch.cat([color, 1 - left[:, None], total[:, 3:]], -1)


def _alpha(splats: Splats, ids: Tensor, pixels: Tensor) -> Tensor:  # [P, n]
    dx, dy = (pixels[:, None, i] - splats.xy[None, ids, i] for i in range(2))
    form = splats.form[ids]
    if form.dim() == 2:
        u, v = form[:, 0] * dx + form[:, 1] * dy, form[:, 2] * dy
        square = u * u + v * v
    else:
        # the pixel's ray meets the surfel's plane where two homogeneous lines cross (2DGS, eq. 8 to 10)
        across = pixels[:, None, :1] * form[:, 2] - form[:, 0]
        along = pixels[:, None, 1:] * form[:, 2] - form[:, 1]
        meet = torch.linalg.cross(across, along)
        parallel = meet[..., 2].abs() < 1e-20
        u, v = (meet[..., i] / torch.where(parallel, torch.ones_like(meet[..., 2]), meet[..., 2]) for i in range(2))
        behind = parallel | (form[:, 2, 0] * u + form[:, 2, 1] * v + form[:, 2, 2] <= 0)
        far = torch.full_like(u, torch.inf)
        square = torch.minimum(torch.where(behind, far, u * u + v * v), SURFEL_FILTER * (dx * dx + dy * dy))
    alpha = (splats.opacity[ids] * torch.exp(-0.5 * square)).clamp(max=MAX_ALPHA)
    return torch.where(alpha >= MIN_ALPHA, alpha, torch.zeros_like(alpha))
