"""The basis of spherical harmonics: orthonormal, equal to its definition by Legendre functions, with the signs of splatting files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recon import spherical_harmonics
from recon.errors import ShapeError


def sphere(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Directions [n, 3] and weights [n] of a product quadrature that is exact for polynomials of degree < 2 * count."""
    z, weight = np.polynomial.legendre.leggauss(count)
    azimuth = np.arange(2 * count) * np.pi / count
    zz, aa = (a.ravel() for a in np.meshgrid(z, azimuth, indexing="ij"))
    ring = np.sqrt(1 - zz**2)
    return torch.tensor(np.stack([ring * np.cos(aa), ring * np.sin(aa), zz], -1)), torch.tensor(np.repeat(weight, 2 * count) * np.pi / count)


def test_orthonormal() -> None:
    directions, weight = sphere()
    values = spherical_harmonics.basis(directions, 4)
    gram = torch.einsum("n,ni,nj->ij", weight, values, values)
    torch.testing.assert_close(gram, torch.eye(25, dtype=torch.float64), rtol=0, atol=1e-12)


def test_equals_the_definition() -> None:
    scipy = pytest.importorskip("scipy.special")
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)
    x, y, z = directions.numpy().T
    expected = []
    for degree in range(5):
        for order in range(-degree, degree + 1):
            m = abs(order)
            norm = np.sqrt((2 * degree + 1) / (4 * np.pi) * scipy.factorial(degree - m) / scipy.factorial(degree + m))
            angle = np.arctan2(y, x) * m
            part = 1.0 if order == 0 else np.sqrt(2) * (np.cos(angle) if order > 0 else np.sin(angle))
            expected.append(norm * scipy.lpmv(m, degree, z) * part)  # lpmv has the Condon-Shortley sign
    np.testing.assert_allclose(spherical_harmonics.basis(directions, 4).numpy(), np.stack(expected, -1), atol=1e-12)


def test_first_bands_as_in_splat_files() -> None:
    x, y, z = 0.48, -0.6, 0.64
    got = spherical_harmonics.basis(torch.tensor([x, y, z]), 1)
    torch.testing.assert_close(got, torch.tensor([0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x]))


@pytest.mark.parametrize("degree", range(5))
def test_colors_and_lower_degrees(degree: int) -> None:
    generator = torch.Generator().manual_seed(degree)
    directions = torch.nn.functional.normalize(torch.randn(9, 3, generator=generator), dim=-1)
    sh = 3 * torch.randn(9, (degree + 1) ** 2, 3, generator=generator)
    full = torch.cat([sh, torch.zeros(9, 25 - sh.shape[1], 3)], 1)
    got = spherical_harmonics.colors(sh, directions)
    torch.testing.assert_close(got, spherical_harmonics.colors(full, directions))
    assert got.min() == 0 and got.shape == (9, 3)  # some of these are clamped
    assert spherical_harmonics.degree_of(sh.shape[1]) == degree


def test_wrong_degree_and_shape_are_told() -> None:
    with pytest.raises(ShapeError, match="5, wanted 0 to 4"):
        spherical_harmonics.basis(torch.zeros(3), 5)
    with pytest.raises(ShapeError, match="wanted one of 1, 4, 9"):
        spherical_harmonics.degree_of(5)
    with pytest.raises(ShapeError, match=r"\[2\], wanted \[..., 3\]"):
        spherical_harmonics.basis(torch.zeros(2), 1)
