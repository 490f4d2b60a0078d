"""Contains MVSplat (Chen et al., "MVSplat: Efficient 3D Gaussian Splatting from Sparse Multi-View Images", ECCV 2024), written from the paper.

    images -> encoder -> transformer across views -> cost volume (plane sweep) -> U-Net -> softmax over planes -> coarse inverse depth
                                     |                                                                               |
                                     +--> upsampled --> U-Net with images, coarse inverse depth, its certainty <-----+
                                                          -> inverse depth, opacity, one Gaussian a pixel
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.acceleration import Accelerated, exact
from recon.models.layers.plane_sweep import Backend
from recon.models.layers.unet import UNet, UNetParams
from recon.models.mvsplat.backbone import Backbone
from recon.models.mvsplat.cost_volume import correlation, inverse_depths
from recon.models.mvsplat.gaussians import SplatOutput, to_gaussians

STRIDE = 4


@dataclass(frozen=True)
class MVSplatParams:
    """Sizes of the network; the defaults are the published ones."""

    features: int = 128
    planes: int = 128
    splits: int = 2  # windows of the transformer along each side
    cost: UNetParams = field(default_factory=lambda: UNetParams(128, 3, (4,)))
    depth: UNetParams = field(default_factory=lambda: UNetParams(32, 5, (16,)))
    sh_degree: int = 4
    side: int = 256  # of the photos that it was trained on
    near: float = 1.0  # where nothing is known of the scene, in units of the cameras' distance
    far: float = 100.0

    @property
    def multiple(self) -> int:
        """What the images' sides must be multiples of."""
        return max(STRIDE * self.splits * 2, STRIDE * 2 ** (self.cost.levels - 1), 2 ** (self.depth.levels - 1))


class MVSplat(Accelerated):
    """Images with cameras to Gaussians (see the module's figure)."""

    half = torch.float16  # inverse depth needs its digits, and every map is normalised
    any_size = False  # two U-Nets of different sizes run the same code
    exact_layers = ("depth_head.2",)  # inverse depth: digits count

    def __init__(self, params: MVSplatParams = MVSplatParams()) -> None:
        super().__init__()
        self.params = params
        c, planes, cost, depth = params.features, params.planes, params.cost, params.depth
        self.backbone = Backbone(c, params.splits)
        self.cost_in = nn.Sequential(nn.Conv2d(planes + c, cost.channels, 3, padding=1), nn.GroupNorm(8, cost.channels), nn.GELU())
        self.cost_net = UNet(cost)
        self.cost_out = nn.Conv2d(cost.channels, planes, 3, padding=1)
        self.cost_skip = nn.Conv2d(planes + c, planes, 1)
        self.plane_head = nn.Sequential(nn.Conv2d(planes, 2 * planes, 3, padding=1), nn.GELU(), nn.Conv2d(2 * planes, planes, 3, padding=1))
        self.upsampler = nn.Sequential(
            nn.Conv2d(2 * c, c, 3, padding=1), nn.Upsample(scale_factor=STRIDE, mode="bilinear", align_corners=True), nn.GELU()
        )
        self.feature_in = nn.Conv2d(c, depth.channels, 3, padding=1)
        self.refine_in = nn.Sequential(nn.Conv2d(3 + depth.channels + 2, depth.channels, 3, padding=1), nn.GroupNorm(4, depth.channels), nn.GELU())
        self.refine_net = UNet(depth)
        raw = 9 + 3 * (params.sh_degree + 1) ** 2
        self.gaussian_head = nn.Sequential(
            nn.Conv2d(depth.channels + 3 + c, 2 * raw, 3, padding=1), nn.GELU(), nn.Conv2d(2 * raw, raw, 3, padding=1)
        )
        self.depth_head = nn.Sequential(
            nn.Conv2d(depth.channels, 2 * depth.channels, 3, padding=1), nn.GELU(), nn.Conv2d(2 * depth.channels, 2, 3, padding=1)
        )

    def compiled_parts(self) -> list[nn.Module]:
        """All but the sweep."""
        return [self.backbone, self.cost_in, self.cost_net, self.plane_head, self.upsampler, self.refine_in, self.refine_net, self.gaussian_head]

    def coarse(self, features: Tensor, volume: Tensor, first: Tensor, step: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """Inverse depth and its certainty, both [V B, 1, h, w], from the features [V B, C, h, w] and the cost volume [V B, D, h, w]."""
        joined = torch.cat([volume.to(features.dtype), features], 1)
        refined = self.cost_out(self.cost_net(self.cost_in(joined), views)) + self.cost_skip(joined)
        probability = self.plane_head(refined).float().softmax(1)
        planes = first[:, None] + step[:, None] * torch.arange(self.params.planes, device=volume.device)[:, None, None]
        return (planes * probability).sum(1, keepdim=True), probability.amax(1, keepdim=True)

    def forward(
        self, images: Tensor, K_normalized: Tensor, cam_to_world: Tensor, near: Tensor, far: Tensor, backend: Backend = "auto"
    ) -> SplatOutput:
        """images [B, V, 3, H, W] 0..1 (sides: `params.multiple`), K_normalized [B, V, 3, 3], cam_to_world [B, V, 4, 4], near and far [B, V]."""
        batch, views = images.shape[:2]
        across, alone = self.backbone(images)
        first, step = inverse_depths(near, far, self.params.planes)
        volume = correlation(across, K_normalized, cam_to_world, first, step, self.params.planes, backend)
        features = across.flatten(0, 1)
        inverse, certainty = self.coarse(features, volume, first, step, views)
        inverse = F.interpolate(inverse, scale_factor=STRIDE, mode="bilinear", align_corners=True)
        certainty = F.interpolate(certainty, scale_factor=STRIDE)
        pictures = images.transpose(0, 1).flatten(0, 1)
        whole = self.upsampler(torch.cat([features, alone.flatten(0, 1)], 1))
        refined = self.refine_net(self.refine_in(torch.cat([pictures, self.feature_in(whole), inverse, certainty], 1)), views)
        raw = self.gaussian_head(torch.cat([refined, pictures, whole], 1)).float()
        change, opacity = exact(self.depth_head[2], self.depth_head[:2](refined)).split(1, 1)
        nearest = (first + step * (self.params.planes - 1))[:, None]
        depth = 1 / (inverse + change).clamp(first[:, None], nearest)
        by_scene = lambda x: x.unflatten(0, (views, batch)).transpose(0, 1)  # [V B, ...] -> [B, V, ...]
        return to_gaussians(
            by_scene(raw).permute(0, 1, 3, 4, 2), by_scene(opacity.sigmoid())[:, :, 0], by_scene(depth)[:, :, 0], K_normalized, cam_to_world,
            self.params.sh_degree,
        )  # fmt: skip
