"""Textures of meshes cut from photos, after Waechter et al. 2014 ("Let There Be Color!"): no parametrisation, each patch lies as its photo shows it.

    shots_of       the photos at full resolution with their cameras
    split_large    faces that are large in the photos are split
    survey         what each photo shows of each face; exposures made alike
    choose_views   the photo of each face, after `without_strangers`
    lay_out        patches into an atlas
    level          corrections that close the seams, of `steps_at` the `seams_of` a layout
    vertex_colors  colours for what no photo shows
    bake           the texture

`texture_mesh` does all of it; `draw_mesh` shows the result.
"""

from recon.meshes.texture.baking import bake
from recon.meshes.texture.choice import adjacency, choose_views, without_strangers
from recon.meshes.texture.drawing import draw_mesh
from recon.meshes.texture.layout import Layout, lay_out
from recon.meshes.texture.levelling import Seams, level, seams_of, steps_at
from recon.meshes.texture.shots import Shot, shots_of
from recon.meshes.texture.subdivision import halve, split_large
from recon.meshes.texture.surveying import Survey, survey
from recon.meshes.texture.texturing import texture_mesh
from recon.meshes.texture.unseen import vertex_colors

__all__ = [
    "Layout", "Seams", "Shot", "Survey", "adjacency", "bake", "choose_views", "draw_mesh", "halve", "lay_out", "level", "seams_of", "shots_of",
    "split_large", "steps_at", "survey", "texture_mesh", "vertex_colors", "without_strangers",
]  # fmt: skip
