"""Gaussians packed once a scene for the CUDA kernels: 128 bytes instead of 236 at degree 3, in chunks of 16 bytes (cuda/render_source.cuh).

Positions stay float32; rotations, opacities and colours are half floats, scales half floats of a power of two near the largest, which leaves them
11 bits down to 2^-29 of it.
"""

from __future__ import annotations

import math

import torch

from recon.render.cuda_table import Packed
from recon.scene import Gaussians

LARGEST_COEFFICIENT = 6e4  # near the largest half


def pack(gaussians: Gaussians) -> Packed | None:
    """The packed form of finite Gaussians on their own device; None where half floats cannot hold them."""
    count, bases = gaussians.sh.shape[:2]
    chunks = 2 + -(-3 * bases // 8)
    with torch.inference_mode(False), torch.no_grad():
        if count and float(gaussians.sh.abs().max()) > LARGEST_COEFFICIENT:
            return None
        words = torch.zeros(chunks, count, 4, dtype=torch.int32, device=gaussians.means.device)
        halves = words.view(torch.float16)  # [chunks, N, 8]
        largest = float(gaussians.scales.max()) if count else 0.0
        unit = 2.0 ** (math.ceil(math.log2(largest)) - 15) if largest > 2.0**-110 else 2.0**-126
        words.view(torch.float32)[0, :, :3] = gaussians.means
        halves[1, :, :4] = torch.nn.functional.normalize(gaussians.quats.float(), dim=-1)
        halves[1, :, 4:7] = gaussians.scales / unit
        halves[1, :, 7] = gaussians.opacities
        flat = gaussians.sh.reshape(count, 3 * bases)
        for c in range(chunks - 2):  # chunk by chunk, so that no second copy of all colours is made
            part = flat[:, 8 * c : 8 * c + 8]
            halves[2 + c, :, : part.shape[1]] = part
    return Packed(words=words, scale_unit=unit, bases=bases)
