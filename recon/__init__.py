"""Photos in, 3D out: `recon.save(recon.reconstruct(["a.jpg", "b.jpg"]), "scene.glb")`.

Names load what they need when they are first used, so that `import recon` and `recon --help` cost nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.cameras.known import cameras_of_focal, cameras_of_photos, read_cameras
    from recon.errors import ReconError
    from recon.io import convert, load, save
    from recon.meshes.fusion import fuse
    from recon.models import list_models, load_model
    from recon.photos.grid import load_images
    from recon.reconstruct import reconstruct
    from recon.render import Renderer, render
    from recon.scene import Cameras, Gaussians, Images, Mesh, Pointmaps, Rendering, Scene, Tracks

__version__ = "0.1.0"
__all__ = [
    "Cameras", "Gaussians", "Images", "Mesh", "Pointmaps", "ReconError", "Renderer", "Rendering", "Scene", "Tracks",
    "cameras_of_focal", "cameras_of_photos", "convert", "fuse", "list_models", "load", "load_images", "load_model", "read_cameras",
    "reconstruct", "render", "save",
]  # fmt: skip

_HOMES = {
    "recon.cameras.known": ("cameras_of_focal", "cameras_of_photos", "read_cameras"),
    "recon.errors": ("ReconError",),
    "recon.photos.grid": ("load_images",),
    "recon.io": ("convert", "load", "save"),
    "recon.meshes.fusion": ("fuse",),
    "recon.models": ("list_models", "load_model"),
    "recon.reconstruct": ("reconstruct",),
    "recon.render": ("Renderer", "render"),
    "recon.scene": ("Cameras", "Gaussians", "Images", "Mesh", "Pointmaps", "Rendering", "Scene", "Tracks"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """`recon.render` and `recon.reconstruct` are the functions, although modules of these names exist: those are not bound here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'recon' has no attribute {name!r}; public names: {', '.join(__all__)}")
        value = getattr(importlib.import_module(_HOME[name]), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
