"""Real spherical harmonics in the order and with the signs of Gaussian splatting files: the colour of a Gaussian by viewing direction.

Band l holds 2l+1 functions, m = -l..l; the Condon-Shortley sign is kept, so degree 1 is (-y, z, -x) times 0.4886. Differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.errors import ShapeError

MAX_DEGREE = 4
SIZES = {1: 0, 4: 1, 9: 2, 16: 3, 25: 4}


def degree_of(bases: int) -> int:
    """The degree with so many bases in all: 1, 4, 9, 16 or 25. Raises ShapeError."""
    if bases not in SIZES:
        raise ShapeError(f"there are {bases} spherical harmonics, wanted one of {', '.join(map(str, SIZES))}")
    return SIZES[bases]


def basis(directions: Tensor, degree: int) -> Tensor:  # [..., 3] -> [..., K]
    """The (degree + 1)^2 basis functions at unit directions (camera to Gaussian); they are orthonormal over the sphere.

    Polynomials of Sloan, "Efficient Spherical Harmonic Evaluation" (JCGT 2013), appendix A2. Raises ShapeError.
    """
    if not 0 <= degree <= MAX_DEGREE:
        raise ShapeError(f"the degree of the spherical harmonics is {degree}, wanted 0 to {MAX_DEGREE}")
    if directions.shape[-1:] != (3,):
        raise ShapeError(f"directions are {list(directions.shape)}, wanted [..., 3]")
    x, y, z = directions.unbind(-1)
    out = [torch.full_like(x, 0.28209479177387814)]
    if degree == 0:
        return torch.stack(out, -1)
    out += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree == 1:
        return torch.stack(out, -1)
    zz, c2, s2 = z * z, x * x - y * y, 2 * x * y  # cosine and sine of twice the azimuth, times sin^2 of the polar angle
    a = -1.0925484305920792 * z
    p6 = 0.9461746957575601 * zz - 0.31539156525252005
    out += [0.5462742152960396 * s2, a * y, p6, a * x, 0.5462742152960396 * c2]
    if degree == 2:
        return torch.stack(out, -1)
    c3, s3 = x * c2 - y * s2, x * s2 + y * c2
    a, b = -2.2852289973223288 * zz + 0.4570457994644658, 1.445305721320277 * z
    p12 = z * (1.8658816629505769 * zz - 1.1195289977703462)
    out += [-0.5900435899266435 * s3, b * s2, a * y, p12, a * x, b * c2, -0.5900435899266435 * c3]
    if degree == 3:
        return torch.stack(out, -1)
    c4, s4 = x * c3 - y * s3, x * s3 + y * c3
    a, b, c = z * (-4.683325804901025 * zz + 2.007139630671868), 3.3116114351514603 * zz - 0.47308734787878004, -1.7701307697799304 * z
    p20 = 1.9843134832984433 * z * p12 - 1.0062305898749053 * p6
    out += [0.6258357354491761 * s4, c * s3, b * s2, a * y, p20, a * x, b * c2, c * c3, 0.6258357354491761 * c4]
    return torch.stack(out, -1)


def colors(sh: Tensor, directions: Tensor) -> Tensor:  # [N, K, 3], [N, 3] -> [N, 3]
    """Colours of coefficients seen along unit directions: the sum plus 0.5, not below 0 (they may exceed 1, as in training)."""
    weights = basis(directions, degree_of(sh.shape[-2]))
    return (torch.einsum("...k,...kc->...c", weights, sh) + 0.5).clamp(min=0)
