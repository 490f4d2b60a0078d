"""Pictures to look at beside the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from recon.scene import Rendering, Scene


class Sheet:
    """Writes pictures side by side into a folder; nothing without one."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def depth(self, name: str, scene: Scene, view: int, error: np.ndarray | None = None) -> None:
        """Photo | depth | the same with what the mask leaves out in white | confidence, or the relative error [H, W] where it is known (red: 2 %)."""
        if self.folder is None:
            return
        assert scene.images is not None and scene.depth is not None and scene.pointmaps is not None
        painted = inverse_depth(scene.depth[view].numpy())
        masked = np.where(scene.pointmaps.mask[view].numpy()[..., None], painted, 255)
        last = scene.pointmaps.confidence[view].log().numpy() / np.log(100) if error is None else np.nan_to_num(error / 0.02)
        self.write(name, [bgr(scene.images.rgb[view]), painted, masked, coloured(last)])

    def view(self, name: str, photo: Tensor, rendering: Rendering) -> None:
        """Photo | rendering | its depth, white where nothing is."""
        if self.folder is None:
            return
        alpha, depth = rendering.alpha[0].numpy(), rendering.depth[0].numpy()
        painted = np.where(alpha[..., None] > 0.5, inverse_depth(np.where(alpha > 0.5, depth, np.nan)), 255)
        self.write(name, [bgr(photo), bgr(rendering.color[0]), painted])

    def write(self, name: str, pictures: list[np.ndarray]) -> None:
        """One row of pictures [H, W, 3] of uint8 BGR."""
        import cv2

        assert self.folder is not None
        cv2.imwrite(str(self.folder / f"{name}.jpg"), np.concatenate([p.astype(np.uint8) for p in pictures], 1))


def bgr(rgb: Tensor) -> np.ndarray:  # [H, W, 3] -> uint8
    return (rgb.clamp(0, 1).numpy()[..., ::-1] * 255).round().astype(np.uint8)


def coloured(x: np.ndarray) -> np.ndarray:  # [H, W] 0..1 -> uint8 [H, W, 3] BGR
    import cv2

    return cv2.applyColorMap((x.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_TURBO)


def inverse_depth(depth: np.ndarray) -> np.ndarray:  # [H, W], NaN or 0 where nothing is -> uint8 [H, W, 3] BGR
    with np.errstate(divide="ignore"):
        inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / depth, np.nan)
    low, high = np.nanquantile(inverse, [0.01, 0.99]) if np.isfinite(inverse).any() else (0.0, 1.0)
    return coloured(np.nan_to_num((inverse - low) / max(high - low, 1e-12)))
