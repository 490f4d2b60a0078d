"""What the tests of meshes share: Open3D where it loads, and the modules of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def open3d() -> None:
    """Skips, with the reason, where Open3D cannot be loaded."""
    from recon.meshes.with_open3d import open3d_problem

    problem = open3d_problem()
    if problem:
        pytest.skip(problem)
