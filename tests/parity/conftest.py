"""Where the recorded outputs of the references are: RECON_PARITY, or ../shared/parity beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def parity_folder(root: Path) -> Path:
    """The folder of fixtures and manifests; the test is skipped where there is none."""
    folder = Path(os.environ.get("RECON_PARITY") or root.parent / "shared" / "parity")
    if not folder.is_dir():
        pytest.skip(f"no recorded references: {folder} is absent (RECON_PARITY names another folder)")
    return folder
