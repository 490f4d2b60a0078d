"""Sparse symmetric systems of meshes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def solve_symmetric(A: Any, b: NDArray[np.float64]) -> NDArray[np.float64]:  # [n, n] sparse, [n, k] -> [n, k]
    """x with A x = b for a positive definite A with a mesh's few numbers a row.

    Factorised once, in the order for symmetric matrices and without pivots: on 150,000 vertices a tenth of the time of conjugate gradients, which
    the long reach of smooth corrections makes slow.
    """
    from scipy.sparse.linalg import splu

    return splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}).solve(b)
