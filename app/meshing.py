"""The mesh of a result, made once when it is first asked for: as the view shows it, and upright for the downloads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recon.app.keeping import MAKING, MESH, VIEW, in_metres, kept

if TYPE_CHECKING:
    from recon.scene import Scene

Tell = Callable[[str, float], None]


def can_mesh(scene: Scene) -> bool:
    """Whether a mesh can be offered: Open3D is installed, and some view is placed."""
    from recon.meshes.depth_views import placed_rows
    from recon.meshes.with_open3d import has_open3d

    return has_open3d() and len(placed_rows(scene)) > 0


def make_mesh(folder: Path, *, tell: Tell) -> None:
    """Puts the mesh of the result in `folder` into mesh.npz (upright) and view/mesh.glb (in the view's world), each whole. Raises ReconError."""
    import recon
    from recon.app import view_pack
    from recon.meshes.fusion import fuse
    from recon.meshes.upright import find_up, mesh_alone

    view = folder / VIEW / view_pack.MESH
    if view.is_file():  # the last that is written
        return
    scene = kept(folder)
    mesh = fuse(scene, progress=lambda text, share: tell(f"mesh: {text}", share))
    with tempfile.TemporaryDirectory(dir=folder, prefix=MAKING) as place:
        recon.save(mesh_alone(scene, mesh, find_up(scene, mesh)), Path(place) / MESH)
        view_pack.write_mesh(replace(scene, mesh=mesh), Path(place))
        os.replace(Path(place) / MESH, folder / MESH)
        os.replace(Path(place) / view_pack.MESH, view)
    for old in folder.glob("files/*/recon-page.*"):  # pages to share without the mesh
        old.unlink()


def with_view_mesh(scene: Scene, folder: Path, scale: float | None) -> Scene:
    """The scene with the mesh that `make_mesh` put beside its view, in the scene's world; as it is where there is none."""
    import recon
    from recon.app import view_pack

    path = folder / VIEW / view_pack.MESH
    return replace(scene, mesh=in_metres(recon.load(path), scale).mesh) if path.is_file() else scene
