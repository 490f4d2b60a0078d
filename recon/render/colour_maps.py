"""Contains numbers as colours: depth, confidence and normals of a scene's views, transparent where a pixel has no value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.geometry import transform

if TYPE_CHECKING:
    from torch import Tensor

    from recon.scene import Scene


def depth_pictures(scene: Scene, views: Sequence[int]) -> tuple[list[np.ndarray], float, float]:  # [H, W, 4] uint8 each
    """Inverse depth on one range for all views of the scene, near bright; with the depths of the bright and of the dark end.

    The scene has depth and pointmaps.
    """
    assert scene.depth is not None and scene.pointmaps is not None
    inverse = 1 / scene.depth.cpu().clamp(min=1e-9).numpy()
    mask = scene.pointmaps.mask.cpu().numpy()
    low, high = np.percentile(inverse[mask], [1, 99]).tolist() if mask.any() else (0.1, 1.0)
    return [coloured(inverse[v], mask[v], low, high, "magma") for v in views], 1 / max(high, 1e-12), 1 / max(low, 1e-12)


def confidence_pictures(scene: Scene, views: Sequence[int]) -> tuple[list[np.ndarray], float, float]:  # [H, W, 4] uint8 each
    """The logarithm of the confidence on one range for all views, sure bright; with the confidences of the dark and of the bright end."""
    assert scene.pointmaps is not None
    confidence = scene.pointmaps.confidence.cpu().clamp(min=1e-6).log().numpy()
    mask = scene.pointmaps.mask.cpu().numpy()
    low, high = np.percentile(confidence[mask], [2, 98]).tolist() if mask.any() else (0.0, 1.0)
    return [coloured(confidence[v], mask[v], low, high, "viridis") for v in views], float(np.exp(low)), float(np.exp(high))


def normal_pictures(camera_normals: Tensor, mask: Tensor) -> list[np.ndarray]:  # [V, H, W, 3], [V, H, W] -> [H, W, 4] uint8 each
    """Unit normals in OpenCV's camera axes in the usual colours: red to the right, green up, blue towards the camera."""
    axes = camera_normals.new_tensor([1.0, -1.0, -1.0])
    colours = ((camera_normals * axes + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    return [np.dstack([c, np.where(m, 255, 0).astype(np.uint8)]) for c, m in zip(colours, mask.cpu().numpy(), strict=True)]


def camera_points(scene: Scene) -> Tensor:  # [V, H, W, 3]
    """The pointmaps' points in the axes of their own cameras."""
    assert scene.pointmaps is not None
    points = scene.pointmaps.points.cpu()
    return torch.stack([transform(T, p.flatten(0, 1)).view_as(p) for T, p in zip(scene.cameras.world_to_cam.to(points), points, strict=True)])


def coloured(values: np.ndarray, mask: np.ndarray, low: float, high: float, table: str) -> np.ndarray:  # [H, W] -> [H, W, 4] uint8
    """Values on a perceptually even colour table, "magma" or "viridis"; pixels outside the mask are transparent."""
    import cv2

    scaled = np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-12), 0, 1)
    codes = {"magma": cv2.COLORMAP_MAGMA, "viridis": cv2.COLORMAP_VIRIDIS}
    colours = cv2.applyColorMap((scaled * 255).round().astype(np.uint8), codes[table])[..., ::-1]
    return np.dstack([colours, np.where(mask, 255, 0).astype(np.uint8)])
