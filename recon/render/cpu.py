"""The renderer for machines without a GPU: the specification's result by compiled loops on all cores (numba). No gradients.

Projects, sorts by depth (radix), lists the splats of each tile of 16 x 16 pixels, then blends tile by tile; the loops are in
recon/render_cpu_project.py and recon/render_cpu_blend.py. The first call on a machine compiles (about 20 s) and keeps the result on disk.
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

TILE = 16
GAUSSIANS = ("means", "quats", "scales", "opacities", "sh")
MAX_PAIRS = 2**31 - 1


def render_cpu(gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Rendering:
    """Pictures of float32 Gaussians in main memory. Raises ReconError where numba is missing."""
    try:
        import numba

        from recon.render import cpu_blend as blend
        from recon.render import cpu_project as project
    except ImportError as error:
        raise ReconError(f"backend 'cpu' needs numba ({error}): pip install numba") from error
    width, height, extras = cameras.width, cameras.height, bool(options.extras)
    columns, rows = -(-width // TILE), -(-height // TILE)
    background = np.zeros((len(cameras), 3), np.float32) if options.background is None else _array(options.background)
    pictures = np.zeros((len(cameras), height, width, 9 if extras else 5), np.float32)
    for c in range(len(cameras)):
        if options.primitive == "surfel":
            splats = project_splats(gaussians, cameras.K[c].float(), cameras.cam_to_world[c].float(), width, height, options)
            shape, values, boxes = _surfel_arrays(splats)
            order, spans = np.arange(len(splats), dtype=np.uint32), boxes
        else:
            means, quats, scales, opacities, sh = (_array(getattr(gaussians, name)) for name in GAUSSIANS)
            shape, values, depth_key = project.project(
                means, quats, scales, opacities, sh, _array(cameras.K[c]), _array(cameras.cam_to_world[c]), width, height, options.antialiased,
                np.float32(options.near), np.float32(options.far), np.float32(options.radius_clip), extras,
            )  # fmt: skip
            order, spans = project.sort_by_depth(depth_key, numba.get_num_threads()), None
        listed, starts = _tile_lists(blend, shape, order, spans, columns, rows, numba.get_num_threads())
        draw = blend.blend_surfels if options.primitive == "surfel" else blend.blend_gaussians
        draw(shape, values, listed, starts, columns, np.uint64(8), background[c], pictures[c])
    return _rendering(torch.from_numpy(pictures), options)


def _tile_lists(
    blend: ModuleType, shape: np.ndarray, order: np.ndarray, boxes: np.ndarray | None, columns: int, rows: int, parts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splats of all tiles one after the other [pairs], nearest first, and where each tile's begin [tiles + 1]."""
    boxes = np.zeros((0, 4), np.float32) if boxes is None else boxes
    counts = np.zeros((parts, columns * rows), np.int64)  # each part of the order counts for itself
    blend.count_pairs(shape, order, boxes, columns, rows, counts)
    total = int(counts.sum())
    if total > MAX_PAIRS:
        raise ReconError(f"the splats touch {total:,} tiles, at most {MAX_PAIRS:,} can be listed; make a smaller picture")
    ends = np.cumsum(counts.T).reshape(columns * rows, len(counts)).T
    places = np.ascontiguousarray(ends - counts)
    starts = np.concatenate([places[0], [total]])
    listed = np.empty(total, np.uint32)
    blend.list_pairs(shape, order, boxes, columns, rows, places, listed)
    return listed, starts


def _surfel_arrays(splats: Splats) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the blending loops read of surfels: form and centre [M, 12], colour, z and normal [M, 7], boxes [M, 4]."""
    shape = torch.cat([splats.form.reshape(-1, 9), splats.xy, splats.opacity[:, None]], -1)
    values = torch.cat([splats.color, splats.depth[:, None], splats.normal], -1)
    return _array(shape), _array(values), _array(splats.box)


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
