"""Scenes whose surfaces are known exactly: rays cast into a few shapes with noise for a texture, and four cameras each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from surface_depth import Reconstruct, Row  # pyright: ignore[reportMissingImports]
from surface_pictures import Sheet  # pyright: ignore[reportMissingImports]
from surface_views import cameras_on  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F

from recon.photos.grid import load_images
from recon.scene import Cameras, Images

WIDTH, HEIGHT, FOCAL = 1024, 768, 1000.0  # of the photos
LONG_SIDE = 512  # of the scene's grid
WITHIN = 0.01  # of the depth: what counts as on the surface
LATTICE, OCTAVES = 32, 7  # of the noise

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]  # origin [3], directions [n, 3] -> how many directions away [n], infinite where missed


def sphere(centre: tuple[float, float, float], radius: float) -> Shape:
    def meet(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        a, b, c = (directions**2).sum(-1), directions @ (origin - centre), ((origin - centre) ** 2).sum() - radius**2
        root = b * b - a * c
        return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)

    return meet


def room(low: tuple[float, float, float], high: tuple[float, float, float]) -> Shape:
    """A box seen from inside."""

    def meet(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.where(directions > 0, (high - origin) / directions, (low - origin) / np.where(directions == 0, -1e-30, directions)).min(-1)

    return meet


def wall(point: tuple[float, float, float], normal: tuple[float, float, float]) -> Shape:
    """A plane without end."""

    def meet(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            t = ((np.array(point) - origin) @ np.array(normal)) / (directions @ np.array(normal))
        return np.where(t > 0, t, np.inf)

    return meet


def pole(x: float, z: float, radius: float) -> Shape:
    """An upright cylinder without end."""
    round_ = sphere((x, 0.0, z), radius)
    flat = np.array([1.0, 0.0, 1.0])
    return lambda origin, directions: round_(origin * flat, directions * flat)


@dataclass(frozen=True)
class KnownScene:
    """Shapes and where the four cameras stand and look."""

    shapes: tuple[Shape, ...]
    eyes: tuple[tuple[float, float, float], ...]
    look_at: tuple[float, float, float]
    coarsest: float  # wavelength of the texture, in the scene's unit

    def cam_to_world(self) -> np.ndarray:  # [4, 4, 4]
        """y down, as far as the view allows."""
        out = np.tile(np.eye(4), (len(self.eyes), 1, 1))
        for T, eye in zip(out, np.array(self.eyes), strict=True):
            forward = np.array(self.look_at) - eye
            forward /= np.linalg.norm(forward)
            right = np.cross([0.0, 1.0, 0.0], forward)
            right /= np.linalg.norm(right)
            T[:3] = np.stack([right, np.cross(forward, right), forward, eye], 1)
        return out

    def cast(self, K: np.ndarray, cam_to_world: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """z-depth [height, width], infinite where nothing is, and the number of the shape seen."""
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1).reshape(-1, 3)  # z 1, so that lengths are depths
        depths = np.stack([shape(cam_to_world[:3, 3], rays @ cam_to_world[:3, :3].T) for shape in self.shapes])
        return depths.min(0).reshape(height, width), depths.argmin(0).reshape(height, width)


STAND = (-0.3, -0.1, 0.1, 0.3)
SCENES = {
    "sphere": KnownScene((sphere((0, 0, 2.5), 0.7),), tuple((1.5 * x, 0.3 * x, 0.0) for x in STAND), (0, 0, 2.5), 0.4),
    "room": KnownScene((room((-1.5, -1.1, -3), (1.5, 1.2, 4)),), tuple((x, 0.2 * x, -abs(x)) for x in STAND), (0.2, 0, 4), 0.6),
    "pole": KnownScene(
        (pole(0.1, 2, 0.012), pole(-0.5, 2.4, 0.012), wall((0, 0, 4), (0.2, 0, -1))), tuple((x, 0.3 * x, 0.0) for x in STAND), (0, 0, 3), 0.5
    ),
    "plane": KnownScene((wall((0, 0, 3), (0.35, 0.2, -1)),), tuple((2 * x, x * x, 0.0) for x in STAND), (0, 0, 3), 0.5),
}


def noise(points: np.ndarray, coarsest: float, seed: int) -> np.ndarray:  # [n, 3] -> [n, 3] 0..1
    """Solid noise of many octaves."""
    table = torch.rand(1, 3, LATTICE, LATTICE, LATTICE, generator=torch.Generator().manual_seed(seed))
    table = F.pad(table, (0, 1, 0, 1, 0, 1), mode="circular")
    total = torch.zeros(3, len(points))
    for octave in range(OCTAVES):
        cell = torch.as_tensor(points * 2**octave / coarsest + 7.3 * octave).remainder(LATTICE).float()
        total += 0.75**octave * F.grid_sample(table, (cell / LATTICE * 2 - 1)[None, None, None], align_corners=True)[0, :, 0, 0]
    mean = 0.5 * sum(0.75**octave for octave in range(OCTAVES))
    return (0.5 + 0.9 * (total - mean)).clamp(0, 1).T.numpy()


def photograph(scene: KnownScene) -> tuple[Images, Cameras]:
    """Four photos of the scene through files, alpha 0 where nothing is, and their cameras on the grid."""
    import cv2

    K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    poses = scene.cam_to_world()
    with tempfile.TemporaryDirectory() as folder:
        for v, T in enumerate(poses):
            depth, shape = scene.cast(K, T, WIDTH, HEIGHT)
            there = np.isfinite(depth)
            x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
            local = np.stack([(x - K[0, 2]) / FOCAL, (y - K[1, 2]) / FOCAL, np.ones_like(x)], -1)[there] * depth[there][:, None]
            world = local @ T[:3, :3].T + T[:3, 3]
            rgba = np.full((HEIGHT, WIDTH, 4), 128.0)
            rgba[..., 3] = 255 * there
            rgba[there, :3] = 255 * noise(world + 3.1 * shape[there][:, None], scene.coarsest, seed=1)
            cv2.imwrite(str(Path(folder) / f"{v}.png"), rgba.round().astype(np.uint8))
        images = load_images(folder, long_side=LONG_SIDE)
    K = np.tile(K, (len(poses), 1, 1))
    K[:, :2] *= images.grid_scale.double().numpy()[:, :, None]
    K[:, :2, 2] += images.grid_offset.double().numpy()
    return images, cameras_on(images, K, poses)


def known_figures(name: str, reconstruct: Reconstruct, sheet: Sheet) -> Row:
    """Shares of the true surface that are covered, and of the covered pixels that lie on it; for the plane also how thick the merged points lie."""
    scene = SCENES[name]
    images, cameras = photograph(scene)
    made = reconstruct(images, cameras)
    assert made.depth is not None and made.pointmaps is not None
    K, poses = cameras.K.double().numpy(), cameras.cam_to_world.double().numpy()
    cast = [scene.cast(k, T, cameras.width, cameras.height) for k, T in zip(K, poses, strict=True)]
    true, shape = np.stack([c[0] for c in cast]), np.stack([c[1] for c in cast])
    there = np.isfinite(true) & images.mask.numpy()
    covered = made.pointmaps.mask.numpy() & there
    error = np.abs(made.depth.double().numpy() / np.where(there, true, np.nan) - 1)
    right = error < WITHIN
    sheet.depth(f"known_{name}", made, 1, error[1])
    row = {"within": float(right[covered].mean()), "covered": float(covered.sum() / there.sum()), "median_error": float(np.median(error[covered]))}
    if name == "pole":
        thin = there & (shape < len(scene.shapes) - 1)
        row |= {"thin_within": float(right[thin & covered].mean()), "thin_covered": float(covered[thin].mean())}
    if name == "plane":
        layer = made.pointmaps.mask if made.pointmaps.layer is None else made.pointmaps.layer
        points = made.pointmaps.points[layer].double().numpy()
        row["thickness"] = thickness(points, np.array([0.35, 0.2, -1.0]), np.array(scene.eyes).mean(0))
    return row


def thickness(points: np.ndarray, normal: np.ndarray, eye: np.ndarray) -> float:  # [n, 3], [3], [3]
    """How far apart along the normal the middle 95 % of the points lie, by the distance of each from the eye; NaN for none."""
    if not len(points):
        return float("nan")
    normal = normal / np.linalg.norm(normal)
    height = (points - np.median(points, axis=0)) @ normal / np.linalg.norm(points - eye, axis=1)
    low, high = np.quantile(height, [0.025, 0.975])
    return float(high - low)
