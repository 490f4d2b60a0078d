"""The types that everything passes around: Images, Cameras, Pointmaps, Gaussians, Mesh, Tracks, Scene and Rendering.

Frames, units and letters in shapes are those of CONVENTIONS.md. All are frozen; numpy arrays and lists given for a tensor become tensors
(float64 becomes float32), tensors stay as they are. A shape that does not fit raises ShapeError.
"""

from recon.lenses import Lens
from recon.scene.cameras import Cameras, PlacedBy
from recon.scene.images import Images, PhotoFile
from recon.scene.results import Rendering, Scene
from recon.scene.surfaces import SH_SIZES, Gaussians, Mesh, Pointmaps, Tracks
from recon.scene.tensors import Index, Tensors, check_shapes

__all__ = [
    "SH_SIZES", "Cameras", "Gaussians", "Images", "Index", "Lens", "Mesh", "PhotoFile", "PlacedBy", "Pointmaps", "Rendering", "Scene", "Tensors",
    "Tracks", "check_shapes",
]  # fmt: skip
