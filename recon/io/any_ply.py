"""Reads any PLY file as what its header says: packed Gaussians, Gaussians, a mesh or points."""

from __future__ import annotations

from pathlib import Path

from recon.io.parts import Parts
from recon.io.ply import read_header


def read(path: Path) -> Parts:
    """What a PLY file holds. Raises FileError."""
    header = read_header(path)
    if header.element("chunk") is not None:
        from recon.io import compressed_ply

        return compressed_ply.read(header)
    from recon.io import point_ply, splat_ply

    return splat_ply.read(header) if splat_ply.is_splats(header) else point_ply.read(header)
