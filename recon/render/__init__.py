"""Pictures of Gaussians: `render` checks its input and hands it to one of four renderers that give the same result.

"torch" is the specification (any device, differentiable), "cpu" is fast without a GPU (numba), "cuda" is this project's own inference renderer,
"gsplat" the library's, with gradients on a GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render.checks import check_cameras, check_gaussians, check_memory
from recon.render.options import Extra, Primitive, RenderOptions, background_rows
from recon.scene import Cameras, Gaussians, Rendering

Backend = Literal["auto", "torch", "cpu", "gsplat", "cuda"]
Renderer = Callable[[Gaussians, Cameras, RenderOptions], Rendering]


def render(
    gaussians: Gaussians, cameras: Cameras, *, backend: Backend = "auto", background: Tensor | Sequence[float] | None = None,
    primitive: Primitive = "gaussian", antialiased: bool = False, depth_range: tuple[float, float] = (0.01, 1e10), radius_clip: float = 0.0,
    extras: Sequence[Extra] = (), check: bool = True,
) -> Rendering:  # fmt: skip
    """What the cameras see of the Gaussians, on the Gaussians' device: colour over `background` [3] or [C, 3] (default black), mean z and alpha.

    `backend`: "auto" takes "cuda" or, where gradients are wanted, "gsplat" on a GPU, else "cpu" or, with gradients, "torch". `primitive`: "surfel"
    draws the Gaussians as flat discs (their third scale is not used). `antialiased`: opacity is lowered by what the pixel filter adds in area
    (Mip-Splatting). `depth_range`: near and far z of the centres. `radius_clip`: splats of at most so many pixels' radius are left out. `extras`:
    "median_depth", "normals". `check`: look at all values first (one synchronisation on a GPU). Raises ReconError before anything starts for
    values that are not finite, quaternions that are not unit, negative scales, opacities outside 0..1, cameras without focal length or place,
    a backend that cannot do what is asked, and for more memory than is free.
    """
    if backend not in get_args(Backend):
        raise ReconError(f"unknown backend {backend!r}; one of: {', '.join(get_args(Backend))}")
    options = RenderOptions(
        background=background_rows(background, len(cameras), gaussians.means), primitive=primitive, antialiased=antialiased,
        near=float(depth_range[0]), far=float(depth_range[1]), radius_clip=radius_clip, extras=frozenset(extras),
    )  # fmt: skip
    if gaussians.means.dtype in (torch.float16, torch.bfloat16):
        gaussians = replace(gaussians, **{name: getattr(gaussians, name).float() for name in ("means", "quats", "scales", "opacities", "sh")})
    if check:
        check_cameras(cameras)
        check_gaussians(gaussians)
    chosen = pick_backend(gaussians, cameras, options) if backend == "auto" else backend
    _refuse(chosen, gaussians, cameras, options)
    if check:
        check_memory(chosen, gaussians, cameras)
    return _renderer(chosen)(gaussians, cameras.to(gaussians.means.device), options)


def wants_gradient(gaussians: Gaussians, cameras: Cameras) -> bool:
    """Whether autograd will ask something of this rendering."""
    tensors = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh, cameras.K, cameras.cam_to_world)
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def pick_backend(gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Backend:
    """The fastest renderer here that can do what is asked."""
    gradient, plain = wants_gradient(gaussians, cameras), options.primitive == "gaussian"
    if gaussians.means.is_cuda and gaussians.means.dtype == torch.float32:
        if not gradient and plain and importlib.util.find_spec("cuda.core") is not None:
            return "cuda"
        if gradient and plain and not options.extras and not bool(cameras.K[:, 0, 1].any()) and importlib.util.find_spec("gsplat") is not None:
            return "gsplat"
    if gradient or gaussians.means.is_cuda or gaussians.means.dtype != torch.float32:
        return "torch"
    return "cpu"


def _refuse(backend: Backend, gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> None:
    """Raises ReconError where a backend cannot do what is asked; the others can."""
    if backend == "torch":
        return
    device, dtype = gaussians.means.device, gaussians.means.dtype
    wanted = "cpu" if backend == "cpu" else "cuda"
    if device.type != wanted:
        raise ReconError(f"backend {backend!r} takes Gaussians on {wanted}, these are on {device}; move them with gaussians.to({wanted!r})")
    if dtype != torch.float32:
        raise ReconError(f"backend {backend!r} takes float32, these Gaussians are {dtype}; use backend 'torch'")
    if backend != "gsplat" and wants_gradient(gaussians, cameras):
        raise ReconError(f"backend {backend!r} has no gradients; use 'torch' or 'gsplat', or render inside torch.no_grad()")
    if options.primitive != "gaussian" and backend != "cpu":
        raise ReconError(f"backend {backend!r} draws no {options.primitive}s; use 'cpu' or 'torch'")
    if backend == "gsplat" and (options.extras or bool(cameras.K[:, 0, 1].any())):
        raise ReconError("backend 'gsplat' has neither skewed pixels nor median depth nor normals of Gaussians; use 'cuda' or 'torch'")


def _renderer(backend: str) -> Renderer:
    if backend == "cpu":
        from recon.render.cpu import render_cpu

        return render_cpu
    if backend == "cuda":
        from recon.render.cuda import render_cuda

        return render_cuda
    if backend == "gsplat":
        from recon.render.with_gsplat import render_gsplat

        return render_gsplat
    from recon.render.specification import render_torch

    return render_torch
