"""The renderer for machines without a GPU: the specification's result by compiled loops on all cores (numba). No gradients.

Projects, sorts by depth (radix), lists the splats of each tile of 16 x 16 pixels, then blends tile by tile; the loops are in
cpu_project.py, cpu_lists.py and cpu_blend.py. The first call on a machine compiles (about 20 s) and keeps the result on disk.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render.options import RenderOptions
from recon.render.projection import Splats, project_splats
from recon.scene import Cameras, Gaussians, Rendering

FIELDS = ("means", "quats", "scales", "opacities", "sh")
MAX_PAIRS = 2**31 - 1


class Packed:
    """Gaussians as the loops read them: float32 arrays, as given or, for many pictures, copied so that neighbours lie together."""

    def __init__(self, gaussians: Gaussians, *, morton: bool = False) -> None:
        self.gaussians, self.ranks = gaussians, np.zeros(0, np.uint32)
        if morton and len(gaussians):
            order = _morton_order(gaussians.means)
            self.gaussians = gaussians[order]
            self.ranks = torch.argsort(order).numpy().astype(np.uint32)  # the places of Gaussian 0, 1, ...: they decide between equal depths
        self.arrays: tuple[np.ndarray, ...] = tuple(_array(getattr(self.gaussians, name)) for name in FIELDS)


def render_cpu(gaussians: Gaussians | Packed, cameras: Cameras, options: RenderOptions) -> Rendering:
    """Pictures of float32 Gaussians in main memory. Raises ReconError where numba is missing."""
    try:
        import numba

        from recon.render import cpu_blend as blend
        from recon.render import cpu_lists as lists
        from recon.render import cpu_project as project
    except ImportError as error:
        raise ReconError(f"backend 'cpu' needs numba ({error}): pip install numba") from error
    packed = gaussians if isinstance(gaussians, Packed) else Packed(gaussians)
    width, height, extras, surfels = cameras.width, cameras.height, bool(options.extras), options.primitive == "surfel"
    background = np.zeros((len(cameras), 3), np.float32) if options.background is None else _array(options.background)
    pictures = np.zeros((len(cameras), height, width, 9 if extras else 5), np.float32)
    threads, columns, rows = numba.get_num_threads(), -(-width // project.TILE), -(-height // project.TILE)
    for c in range(len(cameras)):
        if surfels:
            splats = project_splats(packed.gaussians, cameras.K[c].float(), cameras.cam_to_world[c].float(), width, height, options)
            shape, values, boxes = _surfel_arrays(splats, columns, rows, project.TILE)
            order = np.arange(len(splats), dtype=np.uint32)
        else:
            means, quats, scales, opacities, sh = packed.arrays
            shape, values, boxes, depth_key = project.project(
                means, quats, scales, opacities, sh, _array(cameras.K[c]), _array(cameras.cam_to_world[c]), width, height, options.antialiased,
                np.float32(options.near), np.float32(options.far), np.float32(options.radius_clip), extras,
            )  # fmt: skip
            order = lists.sort_by_depth(depth_key, packed.ranks, threads)
        listed, starts = _tile_lists(lists, shape, order, boxes, not surfels, columns, rows, threads)
        draw = blend.blend_surfels if surfels else blend.blend_gaussians
        draw(shape, values, listed, starts, columns, np.uint64(8 if surfels else project.TILE), background[c], pictures[c])
    return _rendering(torch.from_numpy(pictures), options)


def _morton_order(means: Tensor) -> Tensor:
    """The Gaussians' numbers [N] along a Morton curve of 21 bits an axis through their means."""
    low, high = torch.aminmax(means, dim=0)
    cell = ((means - low) / (high - low).clamp(min=1e-30) * (2**21 - 1)).long().clamp(0, 2**21 - 1)
    for shift, mask in ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249)):
        cell = (cell | (cell << shift)) & mask
    return torch.argsort(cell[:, 0] | (cell[:, 1] << 1) | (cell[:, 2] << 2), stable=True)


def _tile_lists(
    lists: ModuleType, shape: np.ndarray, order: np.ndarray, boxes: np.ndarray, ellipses: bool, columns: int, rows: int, parts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splats of all tiles one after the other [pairs], nearest first, and where each tile's begin [tiles + 1]."""
    counts = np.zeros((parts, columns * rows), np.int64)  # each part of the order counts for itself
    lists.count_pairs(shape, order, boxes, ellipses, columns, counts)
    total = int(counts.sum())
    if total > MAX_PAIRS:
        raise ReconError(f"the splats touch {total:,} tiles, at most {MAX_PAIRS:,} can be listed; make a smaller picture")
    ends = np.cumsum(counts.T).reshape(columns * rows, len(counts)).T
    places = np.ascontiguousarray(ends - counts)
    starts = np.concatenate([places[0], [total]])
    listed = np.empty(total, np.uint32)
    lists.list_pairs(shape, order, boxes, ellipses, columns, places, listed)
    return listed, starts


def _surfel_arrays(splats: Splats, columns: int, rows: int, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the loops read of surfels: form and centre [M, 12], colour, z and normal [M, 7], the tiles about each [M, 4] as in `count_pairs`."""
    shape = torch.cat([splats.form.reshape(-1, 9), splats.xy, splats.opacity[:, None]], -1)
    values = torch.cat([splats.color, splats.depth[:, None], splats.normal], -1)
    x0, y0, x1, y1 = splats.box.unbind(-1)
    first = torch.stack([(x0 / tile).floor().clamp(0, columns), (y0 / tile).floor().clamp(0, rows)], -1)
    last = torch.maximum(first, torch.stack([(x1 / tile).ceil().clamp(0, columns), (y1 / tile).ceil().clamp(0, rows)], -1))
    boxes = torch.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], -1).nan_to_num().numpy().astype(np.uint16)
    return _array(shape), _array(values), np.ascontiguousarray(boxes)


def _rendering(pictures: Tensor, options: RenderOptions) -> Rendering:
    """Channels: red, green, blue, alpha, z; with extras normal and median depth."""
    normals = torch.nn.functional.normalize(pictures[..., 5:8], dim=-1) if "normals" in options.extras else None
    median = pictures[..., 8].contiguous() if "median_depth" in options.extras else None
    alpha = pictures[..., 3].contiguous()
    return Rendering(
        color=pictures[..., :3].contiguous(),
        depth=pictures[..., 4] / alpha.clamp(min=1e-10),
        alpha=alpha,
        median_depth=median,
        normals=normals,
    )


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().float().numpy())
