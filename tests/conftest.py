"""Decides alone which marked tests run: `gpu` needs a CUDA device, `weights` the default weights."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device")
    config.addinivalue_line("markers", "weights: needs the default weights in assets/weights")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    from recon.weights import assets_folder

    absent = {
        "gpu": None if torch.cuda.is_available() else "no CUDA device",
        "weights": None if (assets_folder() / "weights" / "recon-small.safetensors").is_file() else "no default weights in assets/weights",
    }
    for item in items:
        for mark, reason in absent.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def sample_photos() -> list[Path]:
    """The bundled pair of a plant, 1000 x 866."""
    return [ROOT / "assets" / "photos" / f"aloe_{side}.jpg" for side in ("left", "right")]
