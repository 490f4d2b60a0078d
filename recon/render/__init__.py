"""Pictures of Gaussians: `render` checks its input and hands it to one of four renderers that give the same result; `Renderer` for many pictures.

"torch" is the specification (any device, differentiable), "cpu" is fast without a GPU (numba), "cuda" is this project's own inference renderer,
"gsplat" the library's, with gradients on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recon.render.backends import FIELDS, Backend, choose_backend, pick_backend, renderer_of, wants_gradient
from recon.render.checks import check_cameras, check_gaussians, check_memory
from recon.render.options import Extra, Primitive, options_of, with_background
from recon.render.renderer import Renderer
from recon.scene import Cameras, Gaussians, Rendering

__all__ = ["Backend", "Renderer", "clear", "pick_backend", "render", "wants_gradient"]


def render(
    gaussians: Gaussians, cameras: Cameras, *, backend: Backend = "auto", background: Tensor | Sequence[float] | None = None,
    primitive: Primitive = "gaussian", antialiased: bool = False, depth_range: tuple[float, float] = (0.01, 1e10), radius_clip: float = 0.0,
    extras: Sequence[Extra] = (), check: bool = True,
) -> Rendering:  # fmt: skip
    """What the cameras see of the Gaussians, on the Gaussians' device: colour over `background` [3] or [C, 3] (default black), mean z and alpha.

    `backend`: "auto" takes "cuda" or, where gradients are wanted, "gsplat" on a GPU, else "cpu" or, with gradients, "torch". `primitive`: "surfel"
    draws the Gaussians as flat discs (their third scale is not used). `antialiased`: opacity is lowered by what the pixel filter adds in area
    (Mip-Splatting). `depth_range`: near and far z of the centres. `radius_clip`: splats of at most so many pixels' radius are left out. `extras`:
    "median_depth", "normals". `check`: look at all values first; raises ReconError for values that are not finite, quaternions that are not unit,
    negative scales, opacities outside 0..1, cameras without focal length or place, and for more memory than is free. "cuda" looks while it draws
    (not at the colours of what no camera sees), and does not wait for the GPU where it has seen the same tensors before, unchanged. Always raises
    ReconError for a backend that cannot do what is asked.

    On CUDA what a size of call needs is kept from its second call on (`clear()` gives it back); `Renderer` is faster still for one scene.
    """
    options = options_of(primitive, antialiased, float(depth_range[0]), float(depth_range[1]), float(radius_clip), frozenset(extras))
    if background is not None:
        options = with_background(options, background, len(cameras), gaussians.means)
    again = getattr(sys.modules.get("recon.render.cuda"), "draw_again", None)  # what was drawn just before needs no choice
    if again is not None and backend in ("auto", "cuda") and not wants_gradient(gaussians, cameras):
        drawn = again(gaussians, cameras, options, check)
        if drawn is not None:
            return drawn
    if gaussians.means.dtype in (torch.float16, torch.bfloat16):
        gaussians = replace(gaussians, **{name: getattr(gaussians, name).float() for name in FIELDS})
    chosen = choose_backend(backend, gaussians, cameras, options)
    if chosen == "cuda":
        from recon.render.cuda import render_cuda

        return render_cuda(gaussians, cameras, options, check=check)
    if check:
        check_cameras(cameras)
        check_gaussians(gaussians)
        check_memory(chosen, gaussians, cameras)
    return renderer_of(chosen)(gaussians, cameras.to(gaussians.means.device), options)


def clear() -> None:
    """Gives back the memory that `render` keeps on GPUs (CUDA graphs and their buffers), also torch's cache of it. Waits for what is being drawn."""
    plans = sys.modules.get("recon.render.cuda_plans")
    if plans is not None:
        plans.PLANS.clear()
        torch.cuda.empty_cache()


render.clear = clear  # pyright: ignore[reportFunctionMemberAccess]  # `recon.render` is the function
