"""The gsplat library as a renderer: gradients on an NVIDIA GPU, and the rival that our own kernels are measured against."""

from __future__ import annotations

import torch

from recon.errors import ReconError
from recon.render.options import DILATION, RenderOptions
from recon.scene import Cameras, Gaussians, Rendering
from recon.spherical_harmonics import degree_of


def render_gsplat(gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Rendering:
    """Pictures of Gaussians on a CUDA device; differentiable in everything. Raises ReconError where gsplat is not there."""
    try:
        from gsplat import rasterization  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ReconError(f"backend 'gsplat' needs gsplat ({error}): pip install gsplat") from error
    shape = (len(cameras), cameras.height, cameras.width)
    if not len(gaussians) or not len(cameras):  # gsplat stops at empty tensors
        color = gaussians.means.new_zeros(*shape, 3)
        color = color if options.background is None else color + options.background.to(color)[:, None, None]
        return Rendering(color=color, depth=gaussians.means.new_zeros(shape), alpha=gaussians.means.new_zeros(shape))
    try:
        values, alpha, _ = rasterization(
            gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh, cameras.world_to_cam.to(gaussians.means),
            cameras.K.to(gaussians.means), cameras.width, cameras.height, near_plane=options.near, far_plane=options.far,
            radius_clip=options.radius_clip, eps2d=DILATION, sh_degree=degree_of(gaussians.sh.shape[1]), render_mode="RGB+ED",
            rasterize_mode="antialiased" if options.antialiased else "classic",
        )  # fmt: skip
    except (RuntimeError, ImportError, AttributeError) as error:  # a library without its compiled half fails at first use
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise ReconError(f"gsplat cannot run here: {error}") from error
    color = values[..., :3]
    if options.background is not None:  # here, since gsplat would put the background behind the depth, too
        color = color + (1 - alpha) * options.background.to(color)[:, None, None]
    return Rendering(color=color, depth=values[..., 3], alpha=alpha[..., 0])
