"""The one call: a scene to a mesh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch

from recon.errors import ReconError
from recon.meshes.cleanup import CleanUp, clean, drop_pieces
from recon.meshes.colors import with_colors
from recon.meshes.decimation import check_budget, decimate
from recon.meshes.depth_views import DepthViews, depth_views, placed_rows
from recon.meshes.faces import with_normals
from recon.meshes.folds import unfold
from recon.meshes.from_gaussians import rendered_scene
from recon.meshes.grid import grid_mesh
from recon.meshes.poisson import oriented, points_of_views, poisson_surface
from recon.meshes.resolution import choose_resolution
from recon.meshes.tsdf import fuse_tsdf
from recon.meshes.watertight import watertight as closed
from recon.scene import Cameras, Mesh, Scene

Method = Literal["auto", "tsdf", "poisson", "grid"]
Progress = Callable[[str, float], None]
TEXTURE_STAGES = ("texture: faces", "texture: views", "texture: choice", "texture: layout", "texture: seams", "texture: cutting")


def fuse(
    scene: Scene, *, method: Method = "auto", faces: int = 100_000, voxel_size: float | None = None, watertight: bool = False, texture: bool = True,
    texture_size: int = 4096, cameras: Cameras | None = None, cleanup: CleanUp = CleanUp(), progress: Progress | None = None,  # noqa: B008
) -> Mesh:  # fmt: skip
    """The surface of a scene as one mesh in its world, of at most `faces` faces, with normals and a texture of at most `texture_size` pixels across
    from its photos, or vertex colours without `texture`.

    `method`: "tsdf" fuses the depth of the views by weight, "poisson" closes the surface smoothly between oriented points, "grid" makes triangles
    of each view's pixels, cut at edges of depth; "auto" takes tsdf, grid for one view, poisson for points without views. Without depth the views
    are pictures of the Gaussians, from `cameras`, the scene's own, or a sphere around it. `voxel_size` in the scene's unit (default: from the
    width of a pixel and the error of the depth); `watertight`: one closed solid. Sky, masked and unsure pixels take no part. A texture splits faces
    that are large in the photos, and vertices on the borders of its patches. `progress` is told what is done and the share done. The scene stays
    as it is. Raises ReconError for what cannot be done.
    """
    if method not in get_args(Method):
        raise ReconError(f"unknown method {method!r}; one of: {', '.join(get_args(Method))}")
    check_budget(faces)
    if voxel_size is not None and not 0 < voxel_size < float("inf"):
        raise ReconError(f"voxel_size is {voxel_size}, wanted a positive number (in the scene's unit)")
    if texture:
        check_texture_size(texture_size)
    tell = progress or (lambda text, share: None)
    seen = seen_scene(scene, cameras, part(tell, 0.0, 0.2))
    chosen = pick_method(seen) if method == "auto" else method
    with torch.no_grad():
        mesh, voxel = surface(seen, chosen, voxel_size, part(tell, 0.2, 0.6))
        mesh = finished(mesh, faces, watertight, voxel, cleanup, part(tell, 0.6, 0.75))
        return dressed(mesh, seen, texture_size if texture else 0, part(tell, 0.75, 1.0))


def check_texture_size(size: int) -> None:
    """Raises ReconError for a texture that is too small or too large, before the work rather than after it."""
    from recon.meshes.texture.texturing import SIZES

    if not SIZES[0] <= size <= SIZES[1]:
        raise ReconError(f"texture_size is {size}, wanted {SIZES[0]} to {SIZES[1]} pixels")


def seen_scene(scene: Scene, cameras: Cameras | None, progress: Progress) -> Scene:
    """The scene with views that have depth: as it is, or its Gaussians' pictures where it has none or cameras are given."""
    if cameras is None and scene.depth is not None and placed_rows(scene):
        return scene
    if scene.gaussians is not None and len(scene.gaussians):
        return rendered_scene(scene, cameras=cameras, progress=progress)
    if cameras is not None:
        raise ReconError("cameras=... look at Gaussians, and the scene holds none")
    return scene


def pick_method(scene: Scene) -> Method:
    """What suits the scene."""
    if scene.depth is None:
        return "poisson"
    return "tsdf" if len(placed_rows(scene)) > 1 else "grid"


def surface(scene: Scene, method: Method, voxel_size: float | None, progress: Progress) -> tuple[Mesh, float | None]:
    """The raw surface by one of the three methods, and the size of its voxels where it has some."""
    if scene.depth is None:
        if method != "poisson":
            raise ReconError(f"method {method!r} needs depth or Gaussians, and the scene has neither" + (
                "; its points can be meshed by \"poisson\"" if scene.tracks is not None else ""))  # fmt: skip
        return surface_of_points(scene, voxel_size, progress), voxel_size
    views: DepthViews = depth_views(scene)
    if method == "grid":
        return grid_mesh(views), None
    resolution = choose_resolution(views, voxel_size=voxel_size)
    if method == "tsdf":
        return fuse_tsdf(views, resolution, progress=progress), resolution.voxel_size
    points, normals = points_of_views(views, resolution)
    return poisson_surface(points, normals, voxel_size=resolution.voxel_size, progress=progress), resolution.voxel_size


def surface_of_points(scene: Scene, voxel_size: float | None, progress: Progress) -> Mesh:
    """Poisson over the scene's bare points. Raises ReconError for a scene without any."""
    if scene.tracks is None or not len(scene.tracks):
        raise ReconError("the scene holds nothing to make a mesh of: no depth, no Gaussians, no points")
    points = scene.tracks.points.float().cpu()
    points = points[points.isfinite().all(1)]
    if len(points) < 50:
        raise ReconError(f"the scene's {len(points)} points are too few for a surface; wanted at least 50")
    eyes = scene.cameras.cam_to_world[placed_rows(scene), :3, 3].float().cpu()
    return poisson_surface(points, oriented(points, eyes), voxel_size=voxel_size, progress=progress)


def finished(mesh: Mesh, faces: int, watertight: bool, voxel_size: float | None, cleanup: CleanUp, progress: Progress) -> Mesh:
    """The raw surface cleaned, brought within the budget of faces, and closed where that is asked."""
    progress("cleaning", 0.0)
    mesh = clean(mesh, cleanup)
    if watertight:
        progress("closing", 0.3)
        return with_normals(closed(mesh, faces, voxel_size=voxel_size))
    progress("fewer faces", 0.5)
    return with_normals(drop_pieces(unfold(decimate(mesh, faces)), cleanup.least_piece))


def dressed(mesh: Mesh, scene: Scene, texture_size: int, progress: Progress) -> Mesh:
    """The mesh with vertex colours or, unless its size is 0, a texture cut from the photos; as it is where there are no photos."""
    if scene.images is None:
        return mesh
    mesh = with_colors(mesh, scene, progress=part(progress, 0.0, 0.2))
    if texture_size:
        from recon.meshes.texture import texture_mesh

        mesh = texture_mesh(mesh, scene, size=texture_size, progress=staged(part(progress, 0.2, 1.0)))
    progress("mesh", 1.0)
    return mesh


def staged(tell: Progress) -> Progress:
    """Progress of the whole texture from the progress of its stages."""
    return lambda text, share: tell(text, (TEXTURE_STAGES.index(text) + share) / len(TEXTURE_STAGES) if text in TEXTURE_STAGES else 1.0)


def part(tell: Progress, start: float, end: float) -> Progress:
    """Progress of a piece of the work that lies between these shares of the whole."""
    return lambda text, share: tell(text, start + (end - start) * share)
