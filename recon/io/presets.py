"""What each program wants: formats, axes, units and spherical harmonics, by kind of content (docs/import_*.md tell how to import them)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import ReconError, shown
from recon.io.guard import Guard
from recon.io.options import Axes, Kind
from recon.io.table import file_name

if TYPE_CHECKING:
    from recon.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file for a program."""

    format: str  # of the table
    axes: Axes | None = None  # None: the format's own
    unit_scale: float = 1.0
    full_sh: bool = False  # harmonics padded to degree 3: some importers take no other


# Importers of Gaussians take a trainer's PLY as it is, importers of glTF and USD turn y-up metres into their own world. Where a program reads
# numbers unturned (PLY in Blender and Unity), the file has that program's axes.
PROGRAMS: dict[str, dict[Kind, Recipe]] = {
    "blender": {"mesh": Recipe(format="glb"), "points": Recipe(format="points.ply", axes="z-up"), "splats": Recipe(format="ply", axes="z-up")},
    "unity": {
        "mesh": Recipe(format="glb"), "points": Recipe(format="points.ply", axes="unity"), "splats": Recipe(format="ply", axes="unity", full_sh=True)
    },
    "unreal": {
        "mesh": Recipe(format="glb"), "points": Recipe(format="points.ply", axes="unreal", unit_scale=100.0),
        "splats": Recipe(format="ply", full_sh=True),
    },
    "threejs": {"mesh": Recipe(format="glb"), "points": Recipe(format="points.glb"), "splats": Recipe(format="spz")},
    "supersplat": {"splats": Recipe(format="compressed.ply"), "scene": Recipe(format="cameras.json")},
    "nerfstudio": {"scene": Recipe(format="transforms.json")},
    "colmap": {"scene": Recipe(format="colmap")},
}  # fmt: skip


def recipes(program: str) -> dict[Kind, Recipe]:
    """What a program wants. Raises ReconError for an unknown one."""
    if program not in PROGRAMS:
        raise ReconError(f"unknown program {shown(program)}; one of: {', '.join(PROGRAMS)}")
    return PROGRAMS[program]


def save_for(scene: Scene, folder: str | Path, program: str, *, stem: str = "scene", guard: Guard | None = None) -> list[Path]:
    """Writes into `folder` what `program` ("blender", "unity", "unreal", "threejs", "supersplat", "nerfstudio" or "colmap") can use of the scene.

    Returns the paths. Raises ReconError for an unknown program and for a scene that holds nothing for it; files are kept as `save` keeps them.
    """
    from recon.io.content import holds, pad_sh
    from recon.io.targets import check_targets
    from recon.io.views import view_names
    from recon.io.writing import save

    there: list[Kind] = [*holds(scene), *(["scene"] if len(scene) else [])]
    chosen: dict[Kind, Recipe] = {kind: recipe for kind, recipe in recipes(program).items() if there.count(kind)}
    if not chosen:
        raise ReconError(f"{program} takes {', '.join(recipes(program))}, and this scene has {', '.join(there) or 'nothing'}")
    guard = guard or Guard()
    paths = {kind: Path(folder) / file_name(recipe.format).replace("scene.", f"{stem}.", 1) for kind, recipe in chosen.items()}
    check_targets(list(paths.values()), guard, view_names(scene))
    for kind, recipe in chosen.items():
        content = scene
        if recipe.full_sh and scene.gaussians is not None:
            content = replace(scene, gaussians=pad_sh(scene.gaussians, 3))
        save(content, paths[kind], kind=kind, axes=recipe.axes, unit_scale=recipe.unit_scale, guard=guard)
    return list(paths.values())
