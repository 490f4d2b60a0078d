"""Contains TriplaneGaussianModel: TriplaneGaussian with the way from one photo of an object to a Scene."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.errors import ReconError
from recon.geometry import invert_rigid, unproject
from recon.io.axes import move_gaussians
from recon.models.triplane_gaussian.cutout import foreground
from recon.models.triplane_gaussian.network import ObjectOutput, TriplaneGaussian
from recon.render import render
from recon.scene import Cameras, Gaussians, Images, Pointmaps, Scene

if TYPE_CHECKING:
    from recon.models.spec import Progress

DISTANCE, FOV_DEGREES = 1.9, 40.0  # of the camera that the network takes for granted
FILL = 0.85  # of the network's picture, by the longer side of the object
LEAST_ALPHA = 0.5  # of a pixel that has a point
MOST_CONFIDENT = 100.0
VIEW = ((0.0, 0.0, -1.0, DISTANCE), (1.0, 0.0, 0.0, 0.0), (0.0, -1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))  # from x towards the object at 0, z up


class TriplaneGaussianModel(TriplaneGaussian):
    """TriplaneGaussian that also takes Images and gives a Scene."""

    def __call__(self, images, *others, **options):  # Tensors -> ObjectOutput (nn.Module's way), Images -> Scene
        """The raw outputs of image tensors with cameras, or the scene of Images; see `reconstruct`."""
        return super().__call__(images, *others) if isinstance(images, Tensor) else self.reconstruct(images, **options)

    @torch.inference_mode()
    def reconstruct(self, images: Images, *, cameras: Cameras | None = None, progress: Progress | None = None, **other_families: Any) -> Scene:
        """The scene of one photo of an object on the grid of `images`; the object is what the alpha says, else what stands out, else all of it.

        The lens and the distance are the network's own: `cameras` cannot be kept and are refused. Options of other families are taken and left
        alone. Raises ReconError for more than one photo and for an alpha that shows nothing.
        """
        if len(images) != 1:
            raise ReconError(f"TriplaneGaussian takes one photo of an object, got {len(images)}")
        if cameras is not None:
            raise ReconError("TriplaneGaussian takes its own camera for granted: leave `cameras` out")
        tell = progress or (lambda text, share: None)
        tell("object", 0.0)
        object_mask, found_by = foreground(images)
        left, top, size = square_around(object_mask)
        picture, mask = cut(images.rgb[0].cpu(), object_mask, left, top, size, self.params.side)
        tell("Gaussians", 0.1)
        device = next(self.parameters()).device
        focal = 0.5 / math.tan(math.radians(FOV_DEGREES / 2))
        K_normalized = torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
        with torch.autocast("cuda", self.half, enabled=device.type == "cuda"):
            out: ObjectOutput = self.forward(picture.to(device), mask.to(device), K_normalized[None].to(device), torch.tensor([VIEW], device=device))
        tell("points", 0.8)
        K = K_normalized * torch.tensor([[size], [size], [1.0]])
        K[:2, 2] += torch.tensor([left, top])
        scene = scene_of(images, object_mask, K, out)
        scene.report["object"] = found_by
        tell("done", 1.0)
        return scene


def square_around(mask: Tensor) -> tuple[float, float, float]:  # [H, W] bool
    """Left, top and side of the square that shows the object as the training did: in the middle, with a margin."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    size = max(bottom - top, right - left) / FILL
    return (left + right - size) / 2, (top + bottom - size) / 2, size


def cut(rgb: Tensor, mask: Tensor, left: float, top: float, size: float, side: int) -> tuple[Tensor, Tensor]:
    """The object on white [1, 3, side, side] and its mask [1, 1, side, side], 0 or 1, from rgb [H, W, 3] and mask [H, W]."""
    height, width = mask.shape
    place = (torch.arange(side) + 0.5) / side * size
    x, y = (left + place) / width * 2 - 1, (top + place) / height * 2 - 1
    grid = torch.stack([x.expand(side, side), y[:, None].expand(side, side)], -1)[None]
    alpha = mask.float()[None, None]
    white = rgb.permute(2, 0, 1)[None] * alpha
    shrink = size / side
    if shrink > 1:  # the pixels that fall together are averaged first
        kernel = 2 * math.ceil(shrink / 2) - 1
        alpha, white = (F.avg_pool2d(m, kernel, 1, kernel // 2, count_include_pad=False) for m in (alpha, white))
    sample = lambda m: F.grid_sample(m, grid.to(m), align_corners=False)
    alpha, white = sample(alpha), sample(white)
    return (white + 1 - alpha).clamp(0, 1), (alpha > 0.5).float()


def scene_of(images: Images, object_mask: Tensor, K: Tensor, out: ObjectOutput) -> Scene:
    """The scene in the camera's axes, with the depth that the Gaussians show on the grid of `images`; K [3, 3] of that grid."""
    world_to_cam = invert_rigid(torch.tensor(VIEW))
    own = Gaussians(means=out.means[0].float().cpu(), quats=out.quats[0].float().cpu(), scales=out.scales[0].float().cpu(),
                    opacities=out.opacities[0].float().cpu(), sh=out.sh[0].float().cpu())  # fmt: skip
    turned = move_gaussians(own, world_to_cam[:3, :3])
    gaussians = replace(turned, means=turned.means + world_to_cam[:3, 3])
    height, width = object_mask.shape
    cameras = Cameras(K=K[None], cam_to_world=torch.eye(4)[None], width=width, height=height, placed_by=("pointmap",))
    seen = render(gaussians, cameras)
    there = (seen.alpha > LEAST_ALPHA) & (seen.depth > 0)
    depth = torch.where(there, seen.depth, torch.full_like(seen.depth, DISTANCE))
    confidence = (1 / (1 - seen.alpha)).clamp(1, MOST_CONFIDENT)
    points = Pointmaps(points=unproject(depth, K[None]), confidence=confidence, mask=there & object_mask)
    report = {"cameras_from": "pointmaps"}  # the network takes its camera for granted
    return Scene(images=images, cameras=cameras, depth=depth, pointmaps=points, gaussians=gaussians, report=report)
