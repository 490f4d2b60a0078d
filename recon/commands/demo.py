"""The whole way from photos to files with the bundled sample photos: two views of a plant, with their cameras."""

from __future__ import annotations

import argparse

from recon.commands.network import add_network_arguments
from recon.commands.run import add_knowledge_arguments, add_output_arguments, photos_to_files

SAMPLES = ("aloe_left.jpg", "aloe_right.jpg")
CAMERAS = "aloe_cameras.json"  # a rectified pair, cropped: no solver can find its principal points


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_arguments(parser)
    add_network_arguments(parser)
    add_knowledge_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from recon.errors import ReconError
    from recon.weights import assets_folder

    photos = [assets_folder() / "photos" / name for name in SAMPLES]
    missing = [str(p) for p in photos if not p.is_file()]
    if missing:
        raise ReconError(f"the sample photos are absent: {', '.join(missing)}")
    if args.cameras is None and args.focal is None:
        args.cameras = str(assets_folder() / "photos" / CAMERAS)
    return photos_to_files(photos, args)
