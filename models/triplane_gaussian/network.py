"""Contains TriplaneGaussian (Zou et al., "Triplane Meets Gaussian Splatting", CVPR 2024), written from the paper.

    photo, camera -> DINOv2 (frozen) -> point transformer -> points -> split twice -> 16,384 points
                  -> DINOv2 (tuned)  -> features at the points -> planes -> plane transformer -> triplane
                                                   points read the triplane and the photo -> Gaussians
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.acceleration import Accelerated, constant, exact
from recon.models.triplane_gaussian.dino import Dino, DinoParams
from recon.models.triplane_gaussian.planes import PointEncoder, read_planes
from recon.models.triplane_gaussian.points import Split, two_layers
from recon.models.triplane_gaussian.projection import distance_outside, shown_features
from recon.models.triplane_gaussian.transformer import TokenTransformer

OFFSET = 1.2 / 32  # how far a Gaussian may lie from its point, along each axis twice that
LARGEST = 0.2  # scale
PLANE_CHANNELS, SPLIT_FEATURES = 80, 128
EXTRA = 5  # channels beside DINOv2's: colour, mask, distance from it
FACTORS = (2, 4)  # into how many points each is split


@dataclass(frozen=True)
class TriplaneGaussianParams:
    """Sizes of the network; the defaults are the published ones."""

    dino: DinoParams = field(default_factory=DinoParams)
    side: int = 252  # pixels of the photo
    width: int = 512  # of both transformers
    depth: int = 10
    heads: int = 8
    points: int = 2048  # before they are split
    plane: int = 32
    encoder_hidden: int = 128
    encoder_depth: int = 5
    renderer_hidden: int = 128
    sh_degree: int = 3
    radius: float = 0.6  # half the side of the cube that the object is in


class ObjectOutput(NamedTuple):
    """The Gaussians of an object, one for each point; activated values, the world of `cam_to_world`."""

    means: Tensor  # [B, N, 3]
    scales: Tensor  # [B, N, 3]
    quats: Tensor  # [B, N, 4] wxyz
    opacities: Tensor  # [B, N]
    sh: Tensor  # [B, N, K, 3]
    stages: list[Tensor]  # the points before and after each split, [B, n, 3]
    visible: Tensor  # [B, N] bool: shown by a pixel of the photo


def turned(cam_to_world: Tensor) -> Tensor:  # [B, 4, 4] -> [B, 4, 4]
    """The pose with y and z of the camera's axes turned round: of a camera that looks along -z."""
    return cam_to_world * constant((1, -1, -1, 1), cam_to_world.device)


def numbers(K_normalized: Tensor, cam_to_world: Tensor) -> Tensor:  # [B, 3, 3], [B, 4, 4] -> [B, 25]
    """A camera as the modulations read it. The points' encoder was trained with the pose turned round, the planes' with it as it is."""
    return torch.cat([K_normalized.flatten(1), cam_to_world.flatten(1)], 1)


def spread(maps: Tensor, image: Tensor) -> Tensor:  # [B, C, h, w], [B, 3, H, W] -> [B, C, H, W]
    """Maps at the picture's resolution."""
    return F.interpolate(maps, size=image.shape[2:], mode="bilinear")


def in_pixels(K_normalized: Tensor, image: Tensor) -> Tensor:  # [B, 3, 3] -> [B, 3, 3]
    """Lenses of a picture 1 wide and 1 high for the pixels of an image."""
    return K_normalized * constant(((image.shape[3],), (image.shape[2],), (1.0,)), K_normalized.device).to(K_normalized)


def camera_mlp(width: int) -> nn.Sequential:
    """Lens and pose, 9 and 16 numbers, to the condition of the modulations."""
    return nn.Sequential(nn.Linear(25, width), nn.SiLU(), nn.Linear(width, width))


class PointGenerator(nn.Module):
    """A photo to points on the object."""

    def __init__(self, params: TriplaneGaussianParams) -> None:
        super().__init__()
        dino = params.dino
        self.camera = camera_mlp(dino.width)
        self.image_encoder = Dino(dino, dino.width)  # frozen in the training: its weights come from another file
        self.tokens = nn.Parameter(torch.randn(params.points, params.width))
        self.transformer = TokenTransformer(params.width, dino.width, params.heads, params.depth)
        self.out = nn.Linear(params.width, 3)
        self.seen = two_layers(dino.width, 256, SPLIT_FEATURES)
        self.splits = nn.ModuleList(Split(SPLIT_FEATURES, factor) for factor in FACTORS)

    def forward(self, image: Tensor, K_normalized: Tensor, cam_to_world: Tensor) -> list[Tensor]:
        """image [B, 3, H, W], K_normalized [B, 3, 3], cam_to_world [B, 4, 4] -> points [B, n, 3] before and after each split."""
        tokens = self.image_encoder(image, self.camera(numbers(K_normalized, turned(cam_to_world))))
        rows, columns = (side // self.image_encoder.params.patch for side in image.shape[2:])
        maps = spread(self.seen(tokens[:, 1:].transpose(1, 2)).unflatten(2, (rows, columns)), image)
        K = in_pixels(K_normalized, image)
        start = self.tokens.T[None].expand(len(image), -1, -1)
        points = exact(self.out, self.transformer(start, tokens).transpose(1, 2)).transpose(1, 2)  # [B, 3, n]
        stages, features = [points], None
        for split in self.splits:
            seen = shown_features(points.transpose(1, 2), K, cam_to_world, maps).features.transpose(1, 2)
            points, features = split(points, seen, features)
            stages.append(points)
            cam_to_world = turned(cam_to_world)  # the published weights were trained with a camera that turns round at every stage
        return [stage.transpose(1, 2) for stage in stages]


class TriplaneGaussian(Accelerated):
    """A photo of an object with a camera to Gaussians (see the module's figure)."""

    exact_layers = ("point_generator.out", "mlp_delta.2", "heads.0", "heads.1", "heads.2", "heads.3", "heads.4")

    def __init__(self, params: TriplaneGaussianParams = TriplaneGaussianParams()) -> None:
        super().__init__()
        self.params = params
        dino, hidden = params.dino, params.renderer_hidden
        self.point_generator = PointGenerator(params)
        self.camera = camera_mlp(dino.width)
        self.image_encoder = Dino(dino, dino.width)
        self.planes = nn.Parameter(torch.randn(3, params.width, params.plane, params.plane) * params.width**-0.5)
        seen = dino.width + EXTRA
        self.point_encoder = PointEncoder(3 + seen, params.encoder_hidden, params.width, params.encoder_depth, params.plane, params.radius)
        self.transformer = TokenTransformer(params.width, dino.width, params.heads, params.depth)
        self.upsample = nn.ConvTranspose2d(params.width, PLANE_CHANNELS, 2, 2)
        self.mlp = nn.Sequential(
            nn.Linear(3 * PLANE_CHANNELS + seen, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.heads = nn.ModuleList(nn.Linear(hidden, size) for size in (3, 3, 4, 1, 3 * (params.sh_degree + 1) ** 2))

    def forward(self, image: Tensor, mask: Tensor, K_normalized: Tensor, cam_to_world: Tensor) -> ObjectOutput:
        """image [B, 3, H, W] 0..1 on white, mask [B, 1, H, W] 0..1, K_normalized [B, 3, 3], cam_to_world [B, 4, 4] towards the object at 0."""
        return self.recorded("gaussians", self.gaussians)(image, mask, distance_outside(mask), K_normalized, cam_to_world)

    def gaussians(self, image: Tensor, mask: Tensor, distance: Tensor, K_normalized: Tensor, cam_to_world: Tensor) -> ObjectOutput:
        """What `forward` gives, from each pixel's distance from the mask too [B, 1, H, W]: that is measured on the CPU."""
        stages = self.point_generator(image, K_normalized, cam_to_world)
        points = stages[-1]
        tokens = self.image_encoder(image, self.camera(numbers(K_normalized, cam_to_world)))
        rows, columns = (side // self.params.dino.patch for side in image.shape[2:])
        maps = spread(tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)), image)
        maps = torch.cat([image, maps, mask, distance], 1)
        shown = shown_features(points, in_pixels(K_normalized, image), cam_to_world, maps)
        planes = self.planes + self.point_encoder(points, shown.features)
        flat = planes.transpose(1, 2).flatten(2)  # [B, C, 3 S S]
        planes = self.transformer(flat, tokens).unflatten(2, planes.shape[1:2] + planes.shape[3:]).transpose(1, 2)
        planes = self.upsample(planes.flatten(0, 1)).unflatten(0, (len(image), 3))
        hidden = self.mlp(torch.cat([read_planes(planes, points, self.params.radius), shown.features], -1))
        offset, scales, quats, opacities, sh = (exact(head, hidden) for head in self.heads)
        return ObjectOutput(
            means=points + (offset.sigmoid() - 0.5) * OFFSET, scales=scales.exp().clamp(max=LARGEST), quats=F.normalize(quats, dim=-1),
            opacities=opacities.sigmoid()[..., 0], sh=sh.unflatten(-1, (-1, 3)), stages=stages, visible=shown.visible,
        )  # fmt: skip
