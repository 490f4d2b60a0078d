"""Many pictures of one scene: what can be done once a scene is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render.backends import FIELDS, Backend, choose_backend, renderer_of
from recon.render.checks import check_cameras, check_gaussians, check_memory
from recon.render.options import Extra, Primitive, RenderOptions, background_rows
from recon.scene import Cameras, Gaussians, Rendering

Draw = Callable[[Cameras, RenderOptions], Rendering]


class Renderer:
    """Draws one scene again and again: `Renderer(gaussians, width=640, height=480).render(cameras)`, with the options of `recon.render`.

    The Gaussians are looked at once, here, and are to stay as they are. On CUDA they are packed (`recon.render.packed`: colours as half floats,
    where these can hold them; the picture stays within 50 dB), so that the Gaussians themselves may go; "cpu" copies them in an order that keeps
    neighbours together (surfels not), with the very pictures of `recon.render`; the other backends draw them as they are.
    No gradients. Raises ReconError as `recon.render` does. What it holds on a GPU goes when the object does.
    """

    def __init__(
        self, gaussians: Gaussians, *, width: int, height: int, backend: Backend = "auto", background: Tensor | Sequence[float] | None = None,
        primitive: Primitive = "gaussian", antialiased: bool = False, depth_range: tuple[float, float] = (0.01, 1e10), radius_clip: float = 0.0,
        extras: Sequence[Extra] = (), check: bool = True,
    ) -> None:  # fmt: skip
        gaussians = replace(gaussians, **{name: getattr(gaussians, name).detach() for name in FIELDS})
        if gaussians.means.dtype in (torch.float16, torch.bfloat16):
            gaussians = replace(gaussians, **{name: getattr(gaussians, name).float() for name in FIELDS})
        self.width, self.height, self.device, self._check = width, height, gaussians.means.device, check
        self._options = RenderOptions(
            primitive=primitive, antialiased=antialiased, near=float(depth_range[0]), far=float(depth_range[1]), radius_clip=radius_clip,
            extras=frozenset(extras),
        )  # fmt: skip
        self._background, self._like = background, gaussians.means.new_empty(0)
        self._with_background: dict[int, RenderOptions] = {}  # by number of cameras
        background_rows(background, len(background) if background is not None else 0, self._like)  # a wrong one is told now
        some = Cameras(K=torch.eye(3)[None], cam_to_world=torch.eye(4)[None], width=width, height=height)
        with torch.no_grad():
            self.backend = choose_backend(backend, gaussians, some, self._options)
            if check:
                check_gaussians(gaussians)
                check_memory(self.backend, gaussians, some)
            self._draw = _prepared(self.backend, gaussians, self._options, check)

    def render(self, cameras: Cameras) -> Rendering:
        """What the cameras, all `width` x `height`, see. Tensors of its own, as `recon.render` gives; on CUDA it does not wait for the GPU."""
        if (cameras.width, cameras.height) != (self.width, self.height):
            raise ReconError(f"this Renderer draws {self.width} x {self.height} pixels, the cameras have {cameras.width} x {cameras.height}")
        options = self._options if self._background is None else self._with_background.get(len(cameras))
        if options is None:
            rows = background_rows(self._background, len(cameras), self._like)
            options = self._with_background[len(cameras)] = replace(self._options, background=rows)
        if self._check and self.backend != "cuda":
            check_cameras(cameras)
        return self._draw(cameras, options)

    def pictures(self, cameras: Cameras, *, transparent: bool = False, progress: Callable[[float], None] | None = None) -> Iterator[np.ndarray]:
        """uint8 RGB pictures [H, W, 3] of the cameras, with alpha [H, W, 4] if `transparent`; `progress` is told the share done.

        One after the other, so that a long video takes no more memory than a short one.
        """
        tell = progress or (lambda share: None)
        for c in range(len(cameras)):
            tell(c / len(cameras))
            drawn = self.render(cameras[c])
            color, alpha = drawn.color[0], drawn.alpha[0][..., None]
            if transparent:
                color = torch.cat([torch.where(alpha > 0, color / alpha.clamp(min=1e-6), torch.zeros_like(color)), alpha], -1)
            yield (color.clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
        tell(1.0)


def _prepared(backend: Backend, gaussians: Gaussians, options: RenderOptions, check: bool) -> Draw:
    """The drawing of one scene by one backend."""
    if backend == "cuda":
        from recon.render.cuda import render_cuda
        from recon.render.cuda_plans import Plans
        from recon.render.packed import pack

        plans, source = Plans(most=2), pack(gaussians) if options.primitive == "gaussian" else None
        kept = gaussians if source is None else source
        return lambda cameras, options: render_cuda(kept, cameras, options, check=check, plans=plans)
    draw = torch.no_grad()(renderer_of(backend))
    if backend == "cpu" and options.primitive == "gaussian":
        from recon.render.cpu import Packed, render_cpu

        packed, draw = Packed(gaussians, morton=True), torch.no_grad()(render_cpu)
        return lambda cameras, options: draw(packed, cameras.to("cpu"), options)
    return lambda cameras, options: draw(gaussians, cameras.to(gaussians.means.device), options)
