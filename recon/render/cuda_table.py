"""What a call of the CUDA renderer brings, as bytes for the kernels: addresses of tensors, limits, and cameras that lie in main memory.

The twin of `struct Call` in cuda/render_common.cuh. With it in device memory nothing of a call is an argument of a kernel.
"""

from __future__ import annotations

import struct
from ctypes import memmove
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.render.options import RenderOptions
from recon.scene import Cameras, Gaussians, Rendering

WORDS = 16  # of 8 bytes: 14 addresses, 3 floats and one unused
CAMERAS, CAMERAS_AT, OUTPUTS, OUTPUTS_AT = struct.Struct("=2Q"), 8 * 6, struct.Struct("=5Q"), 8 * 9  # addresses, and where in bytes
FLOATS_AT = 8 * WORDS  # cameras in main memory
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


class Inputs(NamedTuple):
    """Tensors of one call whose addresses a table holds: the caller keeps them alive while the kernels run."""

    source: Gaussians | Packed
    K: Tensor  # [C, 3, 3] float32, on the device or in main memory
    cam_to_world: Tensor  # [C, 4, 4]
    background: Tensor | None  # [C, 3]
    tensors: tuple[Tensor, ...]  # those of the source, contiguous and on 16 bytes

    @staticmethod
    def of(source: Gaussians | Packed, cameras: Cameras, options: RenderOptions) -> Inputs:
        """Of float32 Gaussians (or packed ones) on a CUDA device, and cameras there or in main memory."""
        tensors = tensors_of(source)
        if not isinstance(source, Packed):
            tensors = tuple(_aligned(x) for x in tensors)
            if any([x.device != tensors[0].device for x in tensors]):
                raise ReconError(f"Gaussians on {', '.join(sorted({str(x.device) for x in tensors}))}, wanted all on one device")
        device, background = tensors[0].device, options.background
        K, pose = _plain(cameras.K, device), _plain(cameras.cam_to_world, device)
        return Inputs(source, K, pose, None if background is None else _plain(background, device), tensors)


def tensors_of(source: Gaussians | Packed) -> tuple[Tensor, ...]:
    """What the kernels read of Gaussians."""
    return (source.words,) if isinstance(source, Packed) else (source.means, source.quats, source.scales, source.opacities, source.sh)


def fill_table(table: np.ndarray, address: int, inputs: Inputs, picture: Rendering, options: RenderOptions) -> None:
    """Writes a call into `table` [table_words] int64, which will lie at `address` when the kernels read it."""
    words, floats = table[:WORDS], table[WORDS - 2 :].view(np.float32)
    addresses = [x.data_ptr() for x in inputs.tensors]
    addresses = [0, 0, 0, 0, 0, *addresses] if isinstance(inputs.source, Packed) else [*addresses, 0]
    place, device = 4, inputs.tensors[0].device
    for value, size in ((inputs.K, 9), (inputs.cam_to_world, 16), (inputs.background, 3)):
        if value is not None and value.device == device:
            addresses.append(value.data_ptr())
            continue
        size *= len(inputs.K)
        floats[place : place + size] = 0.0 if value is None else value.numpy().reshape(-1)
        addresses.append(address + 8 * (WORDS - 2) + 4 * place)
        place += size
    outputs = (picture.color, picture.depth, picture.alpha, picture.median_depth, picture.normals)
    words[:14] = addresses + [0 if x is None else x.data_ptr() for x in outputs]
    floats[:3] = (options.near, options.far, options.radius_clip)


def again_in_row(row: memoryview, address: int, picture: Rendering, cameras: Cameras, in_row: bool) -> None:
    """Makes a filled table (its bytes, at `address`) one for another picture and other cameras, float32, contiguous, lying where the others did.

    `in_row`: cameras lie in main memory, and so in the table.
    """
    K, T = cameras.K.data_ptr(), cameras.cam_to_world.data_ptr()
    if in_row:
        views = cameras.K.shape[0]
        memmove(address + FLOATS_AT, K, 36 * views)
        memmove(address + FLOATS_AT + 36 * views, T, 64 * views)
    else:
        CAMERAS.pack_into(row, CAMERAS_AT, K, T)
    median, normals = picture.median_depth, picture.normals
    OUTPUTS.pack_into(
        row, OUTPUTS_AT, picture.color.data_ptr(), picture.depth.data_ptr(), picture.alpha.data_ptr(),
        0 if median is None else median.data_ptr(), 0 if normals is None else normals.data_ptr(),
    )  # fmt: skip


def empty_picture(views: int, height: int, width: int, extras: bool, device: torch.device) -> Rendering:
    """A rendering to be written into; with extras both of them."""
    plain, vectors, empty, kind = (views, height, width), (views, height, width, 3), torch.empty, torch.float32
    color = empty(vectors, dtype=kind, device=device)
    depth, alpha = empty(plain, dtype=kind, device=device), empty(plain, dtype=kind, device=device)
    median = empty(plain, dtype=kind, device=device) if extras else None
    normals = empty(vectors, dtype=kind, device=device) if extras else None
    picture = object.__new__(Rendering)  # its shapes are right: looking at them takes as long as all else here
    picture.__dict__.update(color=color, depth=depth, alpha=alpha, median_depth=median, normals=normals)
    return picture


def only_asked(picture: Rendering, options: RenderOptions) -> Rendering:
    """The picture without an extra that came along unasked."""
    if len(options.extras) != 1:
        return picture
    median, normals = ((getattr(picture, name) if name in options.extras else None) for name in ("median_depth", "normals"))
    return Rendering(color=picture.color, depth=picture.depth, alpha=picture.alpha, median_depth=median, normals=normals)


def _plain(x: Tensor, device: torch.device) -> Tensor:
    """The same values as float32, contiguous, on `device` or in main memory."""
    if x.is_cuda and x.device != device:
        x = x.to(device)
    return x if x.dtype == torch.float32 and x.is_contiguous() and not x.requires_grad else x.detach().float().contiguous()


def _aligned(x: Tensor) -> Tensor:
    """The same values as float32, contiguous and on 16 bytes as the kernels' vector loads want."""
    if x.dtype == torch.float32 and x.is_contiguous() and x.data_ptr() % 16 == 0:
        return x
    x = x.detach().float().contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()
