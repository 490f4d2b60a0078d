"""What a call of the CUDA renderer brings, as bytes for the kernels: addresses of tensors, limits, and cameras that lie in main memory.

The twin of `struct Call` in cuda/render_common.cuh. With it in device memory nothing of a call is an argument of a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render.options import RenderOptions
from recon.scene import Cameras, Gaussians, Rendering

WORDS = 16  # of 8 bytes: 14 addresses, 3 floats and one unused
CAMERA_FLOATS = 9 + 16 + 3  # K, cam_to_world, background


def table_words(views: int) -> int:
    """Length of a table as int64."""
    return WORDS + -(-views * CAMERA_FLOATS // 2)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Gaussians as the kernels read them fastest (`recon.render.packed`)."""

    words: Tensor  # [chunks, N, 4] int32
    bases: int

    def __len__(self) -> int:
        return self.words.shape[1]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Tensors of one call whose addresses a table holds: the caller keeps them alive while the kernels run."""

    source: Gaussians | Packed
    K: Tensor  # [C, 3, 3] float32, on the device or in main memory
    cam_to_world: Tensor  # [C, 4, 4]
    background: Tensor | None  # [C, 3]
    tensors: tuple[Tensor, ...]  # those of the source, contiguous and on 16 bytes

    @staticmethod
    def of(source: Gaussians | Packed, cameras: Cameras, options: RenderOptions) -> Inputs:
        """Of float32 Gaussians (or packed ones) on a CUDA device, and cameras there or in main memory."""
        if isinstance(source, Packed):
            tensors = (source.words,)
        else:
            tensors = tuple(_aligned(x) for x in (source.means, source.quats, source.scales, source.opacities, source.sh))
            if any(x.device != tensors[0].device for x in tensors):
                raise ReconError(f"Gaussians on {', '.join(sorted({str(x.device) for x in tensors}))}, wanted all on one device")
        plain = lambda x: x.detach().to(dtype=torch.float32).contiguous()
        device = tensors[0].device
        K, pose, background = plain(cameras.K), plain(cameras.cam_to_world), options.background
        if any(x.device != device and x.is_cuda for x in (K, pose)):
            K, pose = K.to(device), pose.to(device)
        return Inputs(source=source, K=K, cam_to_world=pose, background=None if background is None else plain(background), tensors=tensors)


def fill_table(table: np.ndarray, address: int, inputs: Inputs, picture: Rendering, options: RenderOptions) -> None:
    """Writes a call into `table` [table_words] int64, which will lie at `address` when the kernels read it."""
    words, floats = table[:WORDS], table[WORDS - 2 :].view(np.float32)
    addresses = [x.data_ptr() for x in inputs.tensors]
    words[:6] = (0, 0, 0, 0, 0, *addresses) if isinstance(inputs.source, Packed) else (*addresses, 0)
    views, place = len(inputs.K), 4
    background = inputs.background if inputs.background is not None else np.zeros((views, 3), np.float32)
    for word, value in zip((6, 7, 8), (inputs.K, inputs.cam_to_world, background), strict=True):
        if isinstance(value, Tensor) and value.device == inputs.tensors[0].device:
            words[word] = value.data_ptr()
            continue
        flat = (value.cpu().numpy() if isinstance(value, Tensor) else value).reshape(-1)
        floats[place : place + len(flat)] = flat
        words[word] = address + 8 * (WORDS - 2) + 4 * place
        place += len(flat)
    outputs = (picture.color, picture.depth, picture.alpha, picture.median_depth, picture.normals)
    words[9:14] = [0 if x is None else x.data_ptr() for x in outputs]
    floats[:3] = (options.near, options.far, options.radius_clip)


def empty_picture(views: int, height: int, width: int, extras: bool, device: torch.device) -> Rendering:
    """A rendering to be written into; with extras both of them."""
    new = lambda *channels: torch.empty(views, height, width, *channels, dtype=torch.float32, device=device)
    return Rendering(color=new(3), depth=new(), alpha=new(), median_depth=new() if extras else None, normals=new(3) if extras else None)


def only_asked(picture: Rendering, options: RenderOptions) -> Rendering:
    """The picture without an extra that came along unasked."""
    if len(options.extras) != 1:
        return picture
    median, normals = ((getattr(picture, name) if name in options.extras else None) for name in ("median_depth", "normals"))
    return Rendering(color=picture.color, depth=picture.depth, alpha=picture.alpha, median_depth=median, normals=normals)


def _aligned(x: Tensor) -> Tensor:
    """The same values as float32, contiguous and on 16 bytes as the kernels' vector loads want."""
    x = x.detach().float().contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()
