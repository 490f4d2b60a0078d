"""What every renderer agrees on: the constants of splatting and the options of one call, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from recon.errors import ReconError

# gsplat's values, so that images compare
DILATION = 0.3  # pixels^2 added to the diagonal of the projected covariance: no splat is thinner than a pixel
MIN_ALPHA = 1 / 255  # what covers a pixel less is not drawn
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4  # a pixel ends before the splat that would leave less light than this
FIELD_MARGIN = 0.15  # the projection's slope is taken at most this share of the image outside it
SURFEL_FILTER = 2.0  # a surfel is at least the Gaussian exp(-SURFEL_FILTER / 2 * pixels^2) on the screen
MAX_SIDE = 65_536  # pixels

Primitive = Literal["gaussian", "surfel"]
Extra = Literal["median_depth", "normals"]


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """Options of one rendering, the same for every backend."""

    background: Tensor | None = None  # [C, 3]
    primitive: Primitive = "gaussian"
    antialiased: bool = False
    near: float = 0.01  # z
    far: float = 1e10
    radius_clip: float = 0.0  # pixels
    extras: frozenset[Extra] = frozenset()

    def __post_init__(self) -> None:
        if self.primitive not in get_args(Primitive):
            raise ReconError(f"unknown primitive {self.primitive!r}; one of: {', '.join(get_args(Primitive))}")
        unknown = sorted(set(self.extras) - set(get_args(Extra)))
        if unknown:
            raise ReconError(f"unknown extras {', '.join(map(repr, unknown))}; known: {', '.join(get_args(Extra))}")
        if not 0 < self.near < self.far:
            raise ReconError(f"depth_range is {self.near} to {self.far}, wanted 0 < near < far")
        if not self.radius_clip >= 0:
            raise ReconError(f"radius_clip is {self.radius_clip}, wanted pixels >= 0")
        if self.primitive == "surfel" and self.antialiased:
            raise ReconError("antialiased is for primitive 'gaussian': surfels have a filter of their own")


@lru_cache(maxsize=64)
def options_of(primitive: Primitive, antialiased: bool, near: float, far: float, radius_clip: float, extras: frozenset[Extra]) -> RenderOptions:
    """The options without a background, looked at once: the same are asked for picture by picture."""
    return RenderOptions(primitive=primitive, antialiased=antialiased, near=near, far=far, radius_clip=radius_clip, extras=extras)


def with_background(options: RenderOptions, background: Tensor | Sequence[float], cameras: int, like: Tensor) -> RenderOptions:
    """The options with a background; the same ones again for the same colour written as numbers. Raises ReconError."""
    if not isinstance(background, Tensor) and all([isinstance(x, int | float) for x in background]):
        return _with_colour(options, tuple(background), cameras, like.device, like.dtype)
    return replace(options, background=background_rows(background, cameras, like))


@lru_cache(maxsize=64)
def _with_colour(options: RenderOptions, colour: tuple[float, ...], cameras: int, device: torch.device, dtype: torch.dtype) -> RenderOptions:
    with torch.inference_mode(False):  # kept, also for pictures with gradients
        return replace(options, background=background_rows(colour, cameras, torch.empty(0, device=device, dtype=dtype)))


def background_rows(background: Tensor | Sequence[float] | None, cameras: int, like: Tensor) -> Tensor | None:
    """Background [C, 3] from a colour [3] or one a camera [C, 3], looked at where it is; None stays None (black). Raises ReconError."""
    if background is None:
        return None
    rows = torch.as_tensor(background)
    if rows.shape not in {(3,), (cameras, 3)} or not bool(rows.isfinite().all()):
        raise ReconError(f"background is {rows.tolist() if rows.numel() < 10 else list(rows.shape)}, wanted finite [3] or [C={cameras}, 3]")
    if not (like.is_cuda and not rows.is_cuda):  # on its way to a GPU it travels with the cameras
        rows = rows.to(like.device)
    return rows.to(like.dtype).expand(cameras, 3).contiguous()
