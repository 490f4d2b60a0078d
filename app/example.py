"""The bundled example: two photos of a plant with their cameras, as if they had been uploaded."""

from __future__ import annotations

import shutil
from pathlib import Path

from recon.weights import assets_folder

PHOTOS, CAMERAS = ("aloe_left.jpg", "aloe_right.jpg"), "aloe_cameras.json"


def example_files(folder: Path) -> tuple[list[str], str]:
    """Copies of the photos and of the cameras' file in `folder`, which Gradio was told it may upload from."""
    folder.mkdir(exist_ok=True)
    for name in (*PHOTOS, CAMERAS):
        if not (folder / name).is_file():
            shutil.copyfile(assets_folder() / "photos" / name, folder / name)
    return [str(folder / name) for name in PHOTOS], str(folder / CAMERAS)
