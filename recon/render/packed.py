"""Gaussians packed once a scene for the CUDA kernels: 128 bytes instead of 236 at degree 3, in chunks of 16 bytes (cuda/render_source.cuh).

Positions and opacities stay float32, colours are half floats. Rotations are three of the quaternion's parts in 20 bits each, scales 21 bits of their
logarithm: with half floats needles would move by tenths of a pixel, and what shines through near splats would change by percents.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.render.cuda_table import Packed
from recon.scene import Gaussians

LARGEST_COEFFICIENT = 6e4  # near the largest half
LEAST_SCALE, LARGEST_SCALE = 2.0**-32, 2.0**31  # smaller ones count as 0


def pack(gaussians: Gaussians) -> Packed | None:
    """The packed form of finite Gaussians on their own device; None where half floats cannot hold them."""
    count, bases = gaussians.sh.shape[:2]
    chunks = 2 + -(-3 * bases // 8)
    with torch.inference_mode(False), torch.no_grad():
        if count and (float(gaussians.sh.abs().max()) > LARGEST_COEFFICIENT or float(gaussians.scales.max()) > LARGEST_SCALE):
            return None
        words = torch.zeros(chunks, count, 4, dtype=torch.int32, device=gaussians.means.device)
        halves, floats, longs = words.view(torch.float16), words.view(torch.float32), words.view(torch.int64)
        floats[0, :, :3], floats[0, :, 3] = gaussians.means, gaussians.opacities
        longs[1, :, 0], longs[1, :, 1] = _packed_quaternions(gaussians.quats), _packed_scales(gaussians.scales)
        flat = gaussians.sh.reshape(count, 3 * bases)
        for c in range(chunks - 2):  # chunk by chunk, so that no second copy of all colours is made
            part = flat[:, 8 * c : 8 * c + 8]
            halves[2 + c, :, : part.shape[1]] = part
    return Packed(words=words, bases=bases)


def _packed_quaternions(quats: Tensor) -> Tensor:  # [N, 4] -> [N] int64
    """Bits 0 and 1: the part of the largest size, made positive and left out; then the others in their order, 20 bits each for +-sqrt(1/2)."""
    q = torch.nn.functional.normalize(quats.float(), dim=-1)
    largest = q.abs().argmax(-1, keepdim=True)
    q = torch.where(q.gather(-1, largest) < 0, -q, q)
    others = torch.arange(3, device=q.device) + (torch.arange(3, device=q.device) >= largest)
    steps = ((q.gather(-1, others) * 2**0.5 * 0.5 + 0.5) * 1048575 + 0.5).long().clamp(0, 1048575)
    return largest[:, 0] | (steps << torch.tensor([2, 22, 42], device=q.device)).sum(-1)


def _packed_scales(scales: Tensor) -> Tensor:  # [N, 3] -> [N] int64
    """log2 of each in steps of 2^-15 from LEAST_SCALE on, 21 bits; 0 stands for 0."""
    steps = ((scales.clamp(min=LEAST_SCALE).log2() + 32) * 32768 + 0.5).long().clamp(1, 2**21 - 1)
    steps = torch.where(scales < LEAST_SCALE, 0, steps)
    return (steps << torch.tensor([0, 21, 42], device=scales.device)).sum(-1)
