"""Contains MVSplatModel: MVSplat with the way from photos to a Scene, with cameras given or taken from the default model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.geometry import invert_rigid, matrices_to_quats, quats_to_matrices, transform, unproject
from recon.models.mvsplat.gaussians import SplatOutput
from recon.models.mvsplat.network import MVSplat
from recon.photos.grid import resize
from recon.photos.moves import move_K, move_maps
from recon.scene import Cameras, Gaussians, Images, Pointmaps, Scene
from recon.surfaces.depth_maps import move_depth

if TYPE_CHECKING:
    from recon.models.spec import Progress

NEARER, FARTHER = 0.65, 1.6  # the planes reach beyond the nearest and farthest that is known
TAIL = 0.01  # of the pixels at both ends that do not count for that
MOST_CONFIDENT = 100.0


class MVSplatModel(MVSplat):
    """MVSplat that also takes Images and gives a Scene."""

    def __call__(self, images, *others, **options):  # Tensors -> SplatOutput (nn.Module's way), Images -> Scene
        """The raw outputs of image tensors with cameras, or the scene of Images; see `reconstruct`."""
        return super().__call__(images, *others, **options) if isinstance(images, Tensor) else self.reconstruct(images, **options)

    @torch.inference_mode()
    def reconstruct(
        self, images: Images, *, cameras: Cameras | None = None, near: float | None = None, far: float | None = None,
        progress: Progress | None = None, seed: int = 0, **other_families: Any,
    ) -> Scene:  # fmt: skip
        """The scene of two or more photos on the grid of `images`; one Gaussian for each pixel of the network's grid.

        `cameras` (on the grid of `images`; NaN where unknown) are kept; the default model places the other views and says how near and far the scene
        is, unless `near` and `far` (z, in the cameras' unit) do. Options of other families are taken and left alone.
        Raises ReconError for fewer than two photos and for planes that do not lie before the cameras.
        """
        if len(images) < 2:
            raise ReconError(f"MVSplat needs 2 or more photos, got {len(images)}")
        tell = progress or (lambda text, share: None)
        known = cameras is not None and bool(cameras.cam_to_world.isfinite().all() and cameras.K.isfinite().all())
        rough: Scene | None = None
        if not known or near is None or far is None:
            rough = rough_scene(images, cameras, self.device, lambda text, share: tell(text, 0.6 * share if share < 1 else 0.6), seed)
        placed = cameras if rough is None else rough.cameras
        assert placed is not None
        nearest, farthest = depth_range(rough, near, far)
        tell("Gaussians", 0.6)
        grid = network_grid(images, self.params.side, self.params.multiple)
        K = torch.as_tensor(move_K(placed.K.double().cpu().numpy(), images, grid), dtype=torch.float32)
        out = self._run(grid, K, placed.cam_to_world.cpu().float(), nearest, farthest)
        tell("points", 0.9)
        scene = scene_of(images, grid, placed, K, out)
        tell("done", 1.0)
        return replace(scene, tracks=None if rough is None else rough.tracks)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def _run(self, grid: Images, K: Tensor, cam_to_world: Tensor, near: float, far: float) -> SplatOutput:
        """The network's output on the CPU, in the cameras' unit; inside, `near` is the unit, as in the training."""
        height, width = grid.rgb.shape[1:3]
        scaled = cam_to_world.clone()
        scaled[:, :3, 3] /= near / self.params.near
        unit = near / self.params.near
        ends = [torch.full((1, len(K)), end / unit, device=self.device) for end in (near, far)]
        pictures = grid.rgb.float().permute(0, 3, 1, 2)[None].to(self.device)
        normal = K / torch.tensor([[width], [height], [1.0]])
        with torch.autocast("cuda", self.half, enabled=self.device.type == "cuda"):
            forward = self.recorded("forward", self.forward)
            out: SplatOutput = forward(pictures, normal[None].to(self.device), scaled[None].to(self.device), *ends)
        moved = {name: getattr(out, name).float().cpu() for name in ("means", "quats", "scales", "opacities", "sh", "rotation", "depth")}
        return SplatOutput(**moved | {name: unit * moved[name] for name in ("means", "scales", "depth")})


def network_grid(images: Images, side: int, multiple: int) -> Images:
    """The photos at as many pixels as the square that the network was trained on."""
    height, width = images.rgb.shape[1:3]
    return resize(images, round(side * math.sqrt(max(height, width) / min(height, width))), multiple=multiple)


def rough_scene(images: Images, cameras: Cameras | None, device: torch.device, progress: Progress, seed: int) -> Scene:
    """The default model's scene: what places the views and says how far everything is."""
    from recon.models import load_model

    return load_model(device=str(device))(images, cameras=cameras, surfaces="pointmap", progress=progress, seed=seed)


def depth_range(rough: Scene | None, near: float | None, far: float | None) -> tuple[float, float]:
    """Nearest and farthest z of the planes: given, or a little beyond what the rough scene holds."""
    if near is None or far is None:
        assert rough is not None and rough.depth is not None and rough.pointmaps is not None
        z = rough.depth[rough.pointmaps.mask] if rough.pointmaps.mask.any() else rough.depth.flatten()
        ends = torch.quantile(z[:: max(1, len(z) // 100_000)].double(), torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64))
        near, far = near or NEARER * float(ends[0]), far or FARTHER * float(ends[1])
    if not 0 < near < far:
        raise ReconError(f"near and far are {near} and {far}, wanted 0 < near < far")
    return near, far


def scene_of(images: Images, grid: Images, placed: Cameras, K: Tensor, out: SplatOutput) -> Scene:
    """The scene on the grid of `images` of Gaussians on the network's grid; the padding's are left out.

    The opacity is the network's confidence of a match (Chen et al., section 3.3): an expected error of a fifth where it is 0, none where it is 1.
    """
    views, height, width = grid.rgb.shape[:3]
    inside = grid.mask.cpu()
    kept = inside.flatten()
    R = out.rotation[0, kept] @ quats_to_matrices(out.quats[0, kept])
    gaussians = Gaussians(
        means=out.means[0, kept], quats=matrices_to_quats(R), scales=out.scales[0, kept], opacities=out.opacities[0, kept],
        sh=out.sh[0, kept].transpose(1, 2).contiguous(),
    )  # fmt: skip
    T = placed.cam_to_world.cpu().float()
    z = transform(invert_rigid(T), out.means[0].reshape(views, -1, 3))[..., 2].reshape(views, height, width).clamp(min=1e-6)
    depth = move_depth(z, grid, images)
    opacity = move_maps(out.opacities[0].reshape(views, 1, height, width), grid, images)[:, 0]
    whole_K = placed.K.cpu().float()
    points = Pointmaps(
        points=unproject(depth, whole_K, T), confidence=(1 / (1 - opacity)).clamp(1, MOST_CONFIDENT), mask=images.mask.cpu() & depth.isfinite()
    )
    report = {"depth_range": [float(out.depth.min()), float(out.depth.max())]}
    return Scene(images=images, cameras=placed.to("cpu"), depth=depth, pointmaps=points, gaussians=gaussians, report=report)
