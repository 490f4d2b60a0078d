"""What the tests of meshes share: Open3D where it loads, the modules of this folder, and scenes that several tests of textures look at."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "io")]  # the scenes, and the oracles of files

from texture_scenes import around, photographed, sphere  # noqa: E402  # pyright: ignore[reportMissingImports]

from recon.meshes.texture import texture_mesh  # noqa: E402
from recon.meshes.with_open3d import open3d_problem  # noqa: E402
from recon.scene import Mesh, Scene  # noqa: E402


@pytest.fixture(scope="session")
def open3d() -> None:
    """Skips, with the reason, where Open3D cannot be loaded."""
    if problem := open3d_problem():
        pytest.skip(problem)


@pytest.fixture(scope="session")
def ball() -> Mesh:
    """5,120 faces."""
    return sphere(4, bumps=0.15)


@pytest.fixture(scope="session")
def scene(ball: Mesh) -> Scene:
    """Six photos of 128 pixels around the ball."""
    return photographed(ball, around(6, 128))


@pytest.fixture(scope="session")
def textured(ball: Mesh, scene: Scene) -> Mesh:
    return texture_mesh(ball, scene)
