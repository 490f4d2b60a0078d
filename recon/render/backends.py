"""The four renderers that give the same result, which of them can do what is asked, and which is the fastest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import torch

from recon.errors import ReconError
from recon.render.options import RenderOptions
from recon.scene import Cameras, Gaussians, Rendering

Backend = Literal["auto", "torch", "cpu", "gsplat", "cuda"]
FIELDS = ("means", "quats", "scales", "opacities", "sh")


def choose_backend(backend: Backend, gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Backend:
    """The renderer to use for what was asked; raises ReconError for an unknown one and for one that cannot do it."""
    if backend not in get_args(Backend):
        raise ReconError(f"unknown backend {backend!r}; one of: {', '.join(get_args(Backend))}")
    chosen = pick_backend(gaussians, cameras, options) if backend == "auto" else backend
    _refuse(chosen, gaussians, cameras, options)
    return chosen


def wants_gradient(gaussians: Gaussians, cameras: Cameras) -> bool:
    """Whether autograd will ask something of this rendering."""
    tensors = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh, cameras.K, cameras.cam_to_world)
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def pick_backend(gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Backend:
    """The fastest renderer here that can do what is asked."""
    gradient, plain = wants_gradient(gaussians, cameras), options.primitive == "gaussian"
    if gaussians.means.is_cuda and gaussians.means.dtype == torch.float32:
        if not gradient and _installed("cuda.core"):
            return "cuda"
        if gradient and plain and not options.extras and not bool(cameras.K[:, 0, 1].any()) and _installed("gsplat"):
            return "gsplat"
    if gradient or gaussians.means.is_cuda or gaussians.means.dtype != torch.float32:
        return "torch"
    return "cpu"


@lru_cache
def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


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
    if options.primitive != "gaussian" and backend == "gsplat":
        raise ReconError(f"backend {backend!r} draws no {options.primitive}s; use 'cpu', 'cuda' or 'torch'")
    if backend == "gsplat" and (options.extras or bool(cameras.K[:, 0, 1].any())):
        raise ReconError("backend 'gsplat' has neither skewed pixels nor median depth nor normals of Gaussians; use 'cuda' or 'torch'")


def renderer_of(backend: Backend) -> Callable[[Gaussians, Cameras, RenderOptions], Rendering]:
    """The function behind a backend's name (but "auto"); "cuda" checks values itself and is called by its own name."""
    if backend == "cpu":
        from recon.render.cpu import render_cpu

        return render_cpu
    if backend == "gsplat":
        from recon.render.with_gsplat import render_gsplat

        return render_gsplat
    from recon.render.specification import render_torch

    return render_torch
