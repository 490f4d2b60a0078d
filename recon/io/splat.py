"""The .splat file of antimatter15's viewer: 32 bytes a Gaussian, no header, no spherical harmonics beyond the constant one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.io.files import fault, whole_file
from recon.io.options import Options
from recon.io.parts import SH_DC, Parts
from recon.io.ply import blocks
from recon.io.splat_ply import unit_quats

if TYPE_CHECKING:
    from recon.scene import Gaussians

RECORD = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("color", "u1", 4), ("quat", "u1", 4)])


def write(gaussians: Gaussians, path: Path, options: Options) -> None:
    """Writes the Gaussians in their order; colours and opacities get 8 bits, rotations 8 bits a component."""
    from recon.io.content import dc_colors

    g = gaussians
    colors = dc_colors(g).float().numpy()
    means, scales, opacities, quats = (t.float().numpy() for t in (g.means, g.scales, g.opacities, g.quats))
    with whole_file(path, options.guard) as temporary, open(temporary, "wb") as file:
        for part in blocks(len(g)):
            out = np.empty(part.stop - part.start, RECORD)
            out["means"], out["scales"] = means[part], scales[part]
            out["color"][:, :3] = np.rint(colors[part] * 255)
            out["color"][:, 3] = np.rint(np.clip(opacities[part], 0, 1) * 255)
            out["quat"] = np.clip(np.rint(unit_quats(quats[part]) * 128 + 128), 0, 255)
            out.tofile(file)


def read(path: Path) -> Parts:
    """The Gaussians of a .splat file. Raises FileError for a size that is no multiple of 32."""
    size = path.stat().st_size
    if size % RECORD.itemsize:
        raise fault(path, f"is {size} bytes long, wanted a multiple of {RECORD.itemsize}; it is cut off or no .splat file")
    rows = np.fromfile(path, RECORD)
    color = rows["color"].astype(np.float32) / 255
    quats = unit_quats((rows["quat"].astype(np.float32) - 128) / 128, positive=False)
    parts = {
        "means": np.ascontiguousarray(rows["means"]), "scales": np.ascontiguousarray(rows["scales"]), "quats": quats,
        "opacities": color[:, 3].copy(), "sh": ((color[:, :3] - 0.5) / SH_DC)[:, None],
    }  # fmt: skip
    return Parts(gaussians=parts)
