"""Files of scenes: `save`, `load`, `convert`; the end of a name decides the format (see `formats()`).

`scene.ply` holds Gaussians where the scene has them, else its mesh, else its points; `scene.points.ply` and `scene.mesh.ply` hold what they
say. `scene.glb` holds the mesh, else points, else Gaussians; `scene.splats.glb` and `scene.points.glb` what they say. `colmap` and
`colmap_binary` are folders. `scene.npz` holds everything. A name fits when a format's name stands at its end, alone or after `.`, `_` or `-`.

Files have the axes of their format (PLY, .splat, SOG: OpenCV's; glTF, USD, OBJ, spz: y up; transforms.json: z up) and scenes always OpenCV's;
`load` turns back what `save` turned. Formats without cameras are read as scenes of zero views, bare points as tracks that no view saw.
"""

from recon.io.presets import save_for
from recon.io.reading import in_numbers_of_trainer, load
from recon.io.table import file_name, formats
from recon.io.writing import convert, save

__all__ = ["convert", "file_name", "formats", "in_numbers_of_trainer", "load", "save", "save_for"]
