"""Contains what makes of Gaussians alone a scene of views: their picture and median depth from the scene's cameras or a sphere around it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from recon.errors import ReconError
from recon.geometry import unproject
from recon.meshes.depth_views import placed_rows
from recon.scene import Cameras, Images, Pointmaps, Scene
from recon.surfaces.depth_maps import CONFIDENCE_OF_ERROR

SPHERE_VIEWS, SPHERE_SIZE, SPHERE_FOV, SPHERE_DISTANCE = 40, 512, 40.0, 3.4  # distance in radii of the scene
LEAST_GAUSSIANS = 4
SOLID = 0.6  # alpha from which on a pixel shows a surface
LEAST_ERROR = 0.003  # relative, of the median depth where the Gaussians are a sharp surface
SPREAD = 0.1  # of what lies before and behind, that the median may be off


def rendered_scene(scene: Scene, *, cameras: Cameras | None = None, progress: Callable[[str, float], None] | None = None) -> Scene:
    """The scene as views of its Gaussians: pictures, median depth and its expected error, the mask where they are solid.

    From `cameras`, else from the scene's placed cameras, else from a sphere around it. Raises ReconError for a scene without Gaussians, for values
    that cannot be rendered, and where the cameras see none.
    """
    from recon.render import Renderer

    tell = progress or (lambda text, share: None)
    if scene.gaussians is None or not len(scene.gaussians):
        raise ReconError("the scene holds no Gaussians to make a mesh of")
    gaussians = scene.gaussians.to("cpu")
    if len(gaussians) < LEAST_GAUSSIANS:
        raise ReconError(f"the scene's {len(gaussians)} Gaussians are too few for a surface; wanted at least {LEAST_GAUSSIANS}")
    if cameras is None:
        rows = placed_rows(scene)
        cameras = scene.cameras[rows].to("cpu") if rows else sphere(scene)
    renderer = Renderer(gaussians, width=cameras.width, height=cameras.height, extras=("median_depth",))
    colors, depths, alphas, means = [], [], [], []
    for c in range(len(cameras)):
        tell("depth of the Gaussians", c / len(cameras))
        seen = renderer.render(cameras[c])
        assert seen.median_depth is not None
        colors.append((seen.color[0] / seen.alpha[0].clamp(min=1e-6)[..., None]).clamp(0, 1))
        depths.append(seen.median_depth[0].nan_to_num(0))
        alphas.append(seen.alpha[0])
        means.append(seen.depth[0])
    depth, alpha = torch.stack(depths), torch.stack(alphas)
    mask = (alpha > SOLID) & (depth > 0)
    if not bool(mask.any()):
        raise ReconError(f"none of the {len(cameras)} cameras sees anything solid of the {len(gaussians):,} Gaussians")
    # where light passes, or the mean lies elsewhere than the median, several surfaces are seen; the median is not as far off as they are apart
    error = LEAST_ERROR + SPREAD * ((torch.stack(means) / depth.clamp(min=1e-9) - 1).abs().clamp(max=1) + 1 - alpha)
    points = unproject(depth, cameras.K.float(), cameras.cam_to_world.float())
    maps = Pointmaps(points=points, confidence=CONFIDENCE_OF_ERROR / error, mask=mask)
    images = Images(rgb=torch.stack(colors), mask=mask)
    return Scene(cameras=cameras, images=images, depth=depth, pointmaps=maps, metric=scene.metric, offset=scene.offset)


def sphere(scene: Scene) -> Cameras:
    """Cameras all around a scene (a Fibonacci sphere), that look at its centre and hold it whole."""
    from recon.render.camera_paths import look_at, surroundings, with_view

    place = surroundings(scene)
    index = torch.arange(SPHERE_VIEWS) + 0.5
    z, angle = 1 - 2 * index / SPHERE_VIEWS, index * math.pi * (1 + 5**0.5)
    directions = torch.stack([(1 - z * z).sqrt() * angle.cos(), z, (1 - z * z).sqrt() * angle.sin()], 1)
    eyes = place.center + SPHERE_DISTANCE * place.radius * directions
    return with_view(look_at(eyes, place.center, place.up), SPHERE_SIZE, SPHERE_SIZE, SPHERE_FOV)
