"""Contains the way of 16-bit values to 8 bits: sensors of 10, 12 and 14 bits fill a part of them, thermal cameras a narrow band."""

from __future__ import annotations

import numpy as np

BITS = (8, 10, 12, 14, 16)  # of sensors whose values are stored in 16 bits
NARROW = 0.05  # share of the range below which it is stretched to what is there
SPARE = 0.1  # percent of the pixels beyond either end of a stretched range


def to_8_bits(values: np.ndarray) -> tuple[np.ndarray, str]:
    """uint8 values of integers 0..65535, full scale at the sensor's bits; and a remark where a narrow band was stretched, else ""."""
    top = int(values.max(initial=0))
    full = 2 ** next(bits for bits in BITS if top < 2**bits) - 1
    low, high = (float(v) for v in np.percentile(values, (SPARE, 100 - SPARE)))
    if 0 < high - low < NARROW * full:
        return _scaled(values, low, high), f"its values span {low:.0f} to {high:.0f} of {full}: the contrast was stretched to that"
    return _scaled(values, 0.0, float(full)), ""


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values.astype(np.float32) - low) * (255 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
