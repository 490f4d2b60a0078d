"""Contains recon-mvs: depth of posed views by a plane sweep over recon-small's own descriptors, with its pointmap as a prior.

    coarse descriptors (stride 8) -> sweep over the whole range, 64 planes -+
    pointmap -> a bump over the same planes --------------------------------+-> U-Net -> depth, and how far each source is to be trusted
    fine descriptors (stride 4) -> 24 planes about it, whole and in groups ---> U-Net -> depth
    photo -> detail features (stride 2) -> 12 planes about it ----------------> U-Net -> depth -> upsampling -> depth of every pixel
                                                                                      -> log-b, validity, corrections of the Gaussians

Planes are evenly spaced in inverse depth. The sweep itself is layers/plane_sweep; a plane that a source does not see is left out of the means.
The design follows the project's prototype; correlation in groups is of Guo et al. 2019, weights of sources are of Zhang et al. 2020 (Vis-MVSNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.blocks import ResidualConv
from recon.models.layers.plane_sweep import plane_sweep
from recon.models.recon_small.network import GAUSSIAN_CHANNELS

COARSE_STRIDE, FINE_STRIDE, DETAIL_STRIDE = 8, 4, 2
COARSE_PLANES, FINE_PLANES, DETAIL_PLANES = 64, 24, 12
FINE_REACH, DETAIL_REACH = 3.0, 2.0  # half of a stage's range, in steps of the stage before
GROUPS = 4  # of the fine descriptors' channels
FARTHEST = 1e-4  # the least inverse depth that comes out, over the largest of the range
LEAST_TRUST = 1e-3  # a sum of trusts is taken for at least this
STEEPEST = 20.0  # a step of the sweep counts as at most so many cells


@dataclass(frozen=True)
class ReconMVSParams:
    """Sizes of the network; the committed weights belong to the defaults."""

    coarse_channels: int = 128  # of recon-small's descriptors
    fine_channels: int = 64
    coarse_widths: tuple[int, ...] = (96, 128, 160)  # of the U-Nets, level by level
    fine_widths: tuple[int, ...] = (64, 96)
    detail_widths: tuple[int, ...] = (48, 64)


@dataclass(frozen=True, kw_only=True)
class PosedViews:
    """What the sweep reads of V views, which may belong to several scenes."""

    images: Tensor  # [V, 3, H, W] 0..1, H and W multiples of 16
    coarse: Tensor  # [V, 128, H/8, W/8] unit descriptors of recon-small
    fine: Tensor  # [V, 64, H/4, W/4] likewise
    scales: Tensor  # [2] the inverse temperatures of both
    K: Tensor  # [V, 3, 3] in pixels of the images
    cam_to_world: Tensor  # [V, 4, 4]
    inverse_range: Tensor  # [V, 2] least (0: a plane at infinity) and largest inverse depth of the sweep
    prior: Tensor  # [V, H/8, W/8] inverse depth of the pointmap, in units of the cameras
    prior_confidence: Tensor  # [V, H/8, W/8] log of its confidence (>= 1) plus 0.05; 0 where there is no prior


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One sweep: plane d lies at inverse depth `first + d * step`."""

    logits: Tensor  # [M, D, h, w]
    first: Tensor  # [M, 1, 1, 1] or [M, 1, h, w]
    step: Tensor  # [M, 1, 1, 1]
    inverse_depth: Tensor  # [M, 1, h, w] what is decided


@dataclass(frozen=True, kw_only=True)
class SweptDepth:
    """What the network says of M views."""

    inverse_depth: Tensor  # [M, H, W] 1/z > 0
    log_b: Tensor  # [M, H, W] log of the scale of a Laplace distribution of log depth: the expected relative error
    validity: Tensor  # [M, H, W] logit: something is there, rather than sky
    stages: tuple[Stage, Stage, Stage]  # strides 8, 4, 2
    gaussians: Tensor | None  # [M, H, W, 13] corrections for pixel_gaussians, when asked for


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """M views and their S sources each: p_source ~ matrix p + offset / z, homogeneous, 0..1 across the pictures (the frame of plane_sweep)."""

    references: Tensor  # [M] views
    sources: Tensor  # [M, S] views; 0 where there is none
    present: Tensor  # [M, S, 1, 1] bool
    matrix: Tensor  # [M, S, 3, 3]
    offset: Tensor  # [M, S, 3]

    def mean(self, values: Tensor) -> Tensor:  # [M, S, h, w] -> [M, 1, h, w]
        """Over the sources that there are."""
        return (values * self.present).sum(1, keepdim=True) / self.present.sum(1, keepdim=True).clamp(min=1)

    def shift(self, first: Tensor, last: Tensor, height: int, width: int) -> Tensor:
        """How many cells of a height x width grid lie between the positions at two inverse depths [M, 1, h or 1, w or 1]: [M, S, h, w]."""
        x = (torch.arange(width, device=first.device) + 0.5) / width
        y = (torch.arange(height, device=first.device)[:, None] + 0.5) / height
        column = lambda k: self.matrix[..., k, None, None]  # [M, S, 3, 1, 1]
        ray = column(0) * x + column(1) * y + column(2)

        def place(inverse_depth: Tensor) -> Tensor:  # [M, S, 2, h, w], not far outside of the picture
            p = ray + self.offset[..., None, None] * inverse_depth[:, None]
            return (p[:, :, :2] / p[:, :, 2:].clamp(min=1e-4)).clamp(-1.5, 2.5)

        return ((place(last) - place(first)) * ray.new_tensor([width, height])[:, None, None]).norm(dim=2)


def pair_up(K: Tensor, cam_to_world: Tensor, references: Tensor, sources: Tensor, height: int, width: int) -> Pairs:
    """The geometry of references [M] and sources [M, S] (-1: none) among the cameras of height x width pictures, worked out in float64."""
    present, sources = sources >= 0, sources.clamp(min=0)
    K, cam_to_world = K.double() / K.new_tensor([[width], [height], [1.0]]), cam_to_world.double()
    reference_to_source = torch.linalg.inv(cam_to_world)[sources] @ cam_to_world[references][:, None]
    matrix = K[sources] @ reference_to_source[..., :3, :3] @ torch.linalg.inv(K)[references][:, None]
    offset = (K[sources] @ reference_to_source[..., :3, 3:])[..., 0]
    return Pairs(references=references, sources=sources, present=present[..., None, None], matrix=matrix.float(), offset=offset.float())


class UNet(nn.Module):
    """Two residual blocks a level on the way down and up, joined by sums; gives the first level's width at the input's size."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        stack = lambda width: nn.Sequential(ResidualConv(width), ResidualConv(width))
        pairs = list(pairwise(widths))
        self.mix = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(stack(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairs)
        self.decoder = nn.ModuleList(stack(width) for width in widths[:-1])

    def forward(self, x: Tensor) -> Tensor:  # [M, C, h, w] -> [M, widths[0], h, w]
        x = self.mix(x)
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=False):
            skips.append(encode(x))
            x = down(skips[-1])
        x = self.encoder[-1](x)
        for skip, up, decode in zip(reversed(skips), reversed(self.up), reversed(self.decoder), strict=True):
            x = decode(skip + up(resize(x, skip)))
        return x


def resize(x: Tensor, like: Tensor) -> Tensor:  # [M, C, h, w] -> [M, C, h', w']
    """Bilinear, to the height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def decide(logits: Tensor, first: Tensor, step: Tensor, reach: int) -> Stage:
    """The expected inverse depth within `reach` planes of the likeliest."""
    probability = logits.float().softmax(1)
    plane = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    near = probability * ((plane - probability.argmax(1, keepdim=True)).abs() <= reach)
    expected = (near * plane).sum(1, keepdim=True) / near.sum(1, keepdim=True)
    return Stage(logits=logits, first=first, step=step, inverse_depth=first + expected * step)


def window(centre: Tensor, previous_step: Tensor, reach: float, planes: int) -> tuple[Tensor, Tensor]:
    """first [M, 1, h, w] and step [M, 1, 1, 1] of planes about `centre`, moved up where they would lie beyond infinity."""
    half = reach * previous_step
    return (centre - half).clamp(min=0), 2 * half / (planes - 1)


class Volume:
    """The similarities of one sweep, and what can be said of them without learning."""

    def __init__(self, pairs: Pairs, descriptors: Tensor, first: Tensor, step: Tensor, planes: int, groups: int = 1) -> None:
        swept = plane_sweep(
            descriptors[pairs.references], descriptors, pairs.sources, pairs.matrix, pairs.offset, first[:, 0], step.expand_as(first)[:, 0], planes,
            groups=groups,
        )  # fmt: skip
        self.seen = swept.seen & pairs.present[..., None]  # [M, S, D, h, w]
        self.by_group = swept.similarity  # [M, S, G, D, h, w], 0 where not seen
        self.similarity = swept.similarity.sum(2) if groups > 1 else swept.similarity[:, :, 0]  # [M, S, D, h, w]
        self.share_seen = self.seen.float().mean(2)  # [M, S, h, w]
        last = first + (planes - 1) * step
        self.shift = (pairs.shift(first, last, *descriptors.shape[-2:]) / (planes - 1)).clamp(max=STEEPEST)  # [M, S, h, w] a plane

    def mean(self, trust: Tensor | None = None) -> Tensor:  # [M, S, h, w] -> [M, D, h, w]
        """The mean similarity over the sources that see a plane, weighted by trust."""
        return self.mean_by_group(trust).sum(1)

    def mean_by_group(self, trust: Tensor | None = None) -> Tensor:  # [M, S, h, w] -> [M, G, D, h, w]
        """The same for each group of channels."""
        weight = self.seen.float() if trust is None else self.seen * trust[:, :, None]
        return (self.by_group * weight[:, :, None]).sum(1) / weight.sum(1).clamp(min=LEAST_TRUST)[:, None]

    def best(self) -> Tensor:  # [M, D, h, w]
        """The largest similarity of the sources that see a plane, -1 where none does."""
        return torch.where(self.seen, self.similarity, -1.0).amax(1)

    def votes(self, scale: Tensor) -> Tensor:  # [M, S, D, h, w]
        """Each source's softmax over the planes that it sees."""
        return torch.where(self.seen, self.similarity * scale, -1e4).softmax(2) * self.seen

    def mean_votes(self, votes: Tensor, trust: Tensor | None = None) -> Tensor:  # [M, D, h, w]
        """The mean over the sources that see any plane, weighted by trust."""
        weight = self.seen.any(2).float() if trust is None else self.seen.any(2) * trust
        return (votes * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True).clamp(min=LEAST_TRUST)


class ReconMVS(nn.Module):
    """Posed views to depth, confidence and validity (see the module's figure)."""

    def __init__(self, params: ReconMVSParams = ReconMVSParams()) -> None:
        super().__init__()
        self.params = params
        coarse, fine, detail = params.coarse_widths[0], params.fine_widths[0], params.detail_widths[0]
        self.coarse_net = UNet(4 * COARSE_PLANES + params.coarse_channels + 6, params.coarse_widths)
        self.coarse_out = nn.Conv2d(coarse, COARSE_PLANES, 1)
        self.coarse_to_fine = nn.Conv2d(coarse, 48, 1)
        self.trust = nn.Sequential(nn.Conv2d(4, 16, 1), nn.GELU(), nn.Conv2d(16, 1, 1))
        self.fine_net = UNet((3 + GROUPS) * FINE_PLANES + params.fine_channels + 48 + 4, params.fine_widths)
        self.fine_out = nn.Conv2d(fine, FINE_PLANES, 1)
        self.fine_to_detail = nn.Conv2d(fine, 32, 1)
        self.detail = nn.Sequential(nn.Conv2d(3, 32, 7, 2, 3), nn.GELU(), ResidualConv(32), ResidualConv(32))
        self.detail_descriptor = nn.Conv2d(32, 24, 1)
        self.detail_log_scale = nn.Parameter(torch.tensor(2.0))
        self.detail_net = UNet(2 * DETAIL_PLANES + 32 + 32 + 3, params.detail_widths)
        self.detail_out = nn.Conv2d(detail, DETAIL_PLANES, 1)
        self.upsampling = nn.Sequential(nn.Conv2d(detail + 12, 48, 3, padding=1), nn.GELU(), nn.Conv2d(48, 9 * 4, 1))
        self.log_b = nn.Sequential(nn.Conv2d(detail, 24, 3, padding=1), nn.GELU(), nn.Conv2d(24, 1, 1))
        self.validity = nn.Sequential(nn.Conv2d(detail + 12, 24, 3, padding=1), nn.GELU(), nn.Conv2d(24, 4, 1))
        self.gaussians = nn.Sequential(nn.Conv2d(detail + 12, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 4 * GAUSSIAN_CHANNELS, 3, padding=1))
        for last in (self.trust[2], self.validity[2], self.gaussians[2]):  # all sources alike, nothing said of the sky, no corrections
            nn.init.zeros_(last.get_parameter("weight"))
            nn.init.zeros_(last.get_parameter("bias"))
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (on a CPU the convolutions run twice as fast)

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:  # [V, 3, H, W] -> [V, 32, H/2, W/2], [V, 24, H/2, W/2]
        """Detail features of the photos and unit descriptors made of them; once for each view, whatever it is source of."""
        features = self.detail((images - 0.5) / 0.25)
        return features, F.normalize(self.detail_descriptor(features).float(), dim=1)

    def forward(
        self, views: PosedViews, detail: tuple[Tensor, Tensor], references: Tensor, sources: Tensor, *, gaussians: bool = False
    ) -> SweptDepth:
        """Depth of the views `references` [M], each swept against the views `sources` [M, S], S >= 1; -1 says that there is none.

        detail: `describe(views.images)`. Differentiable in the network's own parameters, not in the descriptors and cameras.
        """
        pairs = pair_up(views.K, views.cam_to_world, references, sources, *views.images.shape[-2:])
        coarse, hidden, trust = self.coarse_stage(views, pairs)
        fine, hidden = self.fine_stage(views, pairs, coarse, hidden, trust)
        finest, hidden = self.detail_stage(views, pairs, detail, fine, hidden, trust)
        pixels = F.pixel_unshuffle((views.images[references] - 0.5) / 0.25, DETAIL_STRIDE)
        both = torch.cat([hidden, pixels.to(hidden.dtype)], 1)
        shuffle = lambda x: F.pixel_shuffle(x.float(), DETAIL_STRIDE)
        full = upsample(finest.inverse_depth, self.upsampling(both))
        largest = views.inverse_range[references, 1, None, None]
        return SweptDepth(
            inverse_depth=torch.maximum(full[:, 0], FARTHEST * largest),
            log_b=F.interpolate(self.log_b(hidden).float(), scale_factor=2.0, mode="bilinear", align_corners=False)[:, 0].clamp(-7, 2),
            validity=shuffle(self.validity(both))[:, 0],
            stages=(coarse, fine, finest),
            gaussians=shuffle(self.gaussians(both)).permute(0, 2, 3, 1) if gaussians else None,
        )

    def coarse_stage(self, views: PosedViews, pairs: Pairs) -> tuple[Stage, Tensor, Tensor]:
        """The stage at stride 8, its features, and the trust in each source [M, S, h8, w8]."""
        low, high = limits(views, pairs)
        step = (high - low) / (COARSE_PLANES - 1)
        context = views.coarse[pairs.references]
        with torch.no_grad():
            volume = Volume(pairs, views.coarse, low, step, COARSE_PLANES)
            votes = volume.votes(views.scales[0])
            confidence = views.prior_confidence[pairs.references][:, None]
            prior = torch.where(confidence > 0, views.prior[pairs.references][:, None], (low + high) / 2)
            planes = low + step * torch.arange(COARSE_PLANES, device=low.device)[:, None, None]
            width = 0.08 * prior + (high - low) / COARSE_PLANES
            bump = torch.exp(-0.5 * ((planes - prior) / width) ** 2) * (confidence > 0)
            position = ((prior - low) / (high - low)).clamp(-0.5, 1.5)
            shift = volume.shift * pairs.present
            x = [volume.mean(), volume.best(), volume.mean_votes(votes), bump, context, position, confidence, pairs.mean(shift).log1p(),
                 shift.amax(1, keepdim=True).log1p(), pairs.mean(volume.share_seen), (low / high).expand_as(confidence)]  # fmt: skip
        hidden = self.coarse_net(join(x, context))
        logits = self.coarse_out(hidden)
        with torch.no_grad():
            likeliest = logits.argmax(1)[:, None, None].expand(-1, votes.shape[1], -1, -1, -1)
            there = lambda x: x.gather(2, likeliest)[:, :, 0]
            profile = torch.stack([votes.amax(2), there(votes), there(volume.similarity), volume.share_seen], 2)  # [M, S, 4, h, w]
        trust = self.trust(profile.flatten(0, 1)).float().sigmoid()[:, 0].unflatten(0, profile.shape[:2])
        return decide(logits, low, step, 2), hidden, trust

    def fine_stage(self, views: PosedViews, pairs: Pairs, coarse: Stage, hidden: Tensor, trust: Tensor) -> tuple[Stage, Tensor]:
        """The stage at stride 4 and its features; gradients reach the trust."""
        context = views.fine[pairs.references]
        trust = resize(trust, context)
        with torch.no_grad():
            first, step = window(resize(coarse.inverse_depth, context), coarse.step, FINE_REACH, FINE_PLANES)
            volume = Volume(pairs, views.fine, first, step, FINE_PLANES, GROUPS)
            votes = volume.votes(views.scales[1])
            shift = volume.shift * pairs.present
        groups = volume.mean_by_group(trust)
        x = [groups.sum(1), volume.best(), volume.mean_votes(votes, trust), context, resize(self.coarse_to_fine(hidden), context),
             middle(first, step, FINE_PLANES, limits(views, pairs)), pairs.mean(shift).log1p(), shift.amax(1, keepdim=True).log1p(),
             pairs.mean(volume.share_seen), GROUPS * groups.flatten(1, 2)]  # fmt: skip
        hidden = self.fine_net(join(x, context))
        return decide(self.fine_out(hidden), first, step, 3), hidden

    def detail_stage(
        self, views: PosedViews, pairs: Pairs, detail: tuple[Tensor, Tensor], fine: Stage, hidden: Tensor, trust: Tensor
    ) -> tuple[Stage, Tensor]:
        """The stage at stride 2 and its features; gradients reach the trust and the descriptors."""
        features, descriptors = detail
        context = features[pairs.references]
        with torch.no_grad():
            first, step = window(resize(fine.inverse_depth, context), fine.step, DETAIL_REACH, DETAIL_PLANES)
        volume = Volume(pairs, descriptors, first, step, DETAIL_PLANES)
        scale = self.detail_log_scale.exp()
        x = [volume.mean(resize(trust, context)) * scale, volume.best() * scale, context, resize(self.fine_to_detail(hidden), context),
             middle(first, step, DETAIL_PLANES, limits(views, pairs)), pairs.mean(volume.shift).log1p(), pairs.mean(volume.share_seen)]  # fmt: skip
        hidden = self.detail_net(join(x, context))
        return decide(self.detail_out(hidden), first, step, 3), hidden


def join(parts: list[Tensor], like: Tensor) -> Tensor:
    """The channels of all parts, in the type of `like`."""
    return torch.cat([part.to(like.dtype) for part in parts], 1)


def limits(views: PosedViews, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Least and largest inverse depth [M, 1, 1, 1] of the sweep."""
    low, high = views.inverse_range[pairs.references, :, None, None, None].unbind(1)
    return low, high


def middle(first: Tensor, step: Tensor, planes: int, ends: tuple[Tensor, Tensor]) -> Tensor:  # [M, 1, h, w]
    """Where the middle plane lies between the ends of the whole range, 0..1."""
    return (first + step * (planes - 1) / 2 - ends[0]) / (ends[1] - ends[0])


def upsample(x: Tensor, logits: Tensor) -> Tensor:  # [M, 1, h, w], [M, 9 * 4, h, w] -> [M, 1, 2h, 2w]
    """Each fine pixel as a convex combination of its 3x3 coarse neighbours (Teed and Deng 2020)."""
    weights = logits.float().unflatten(1, (9, 4)).softmax(1)
    neighbours = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3).unflatten(-1, x.shape[-2:])
    return F.pixel_shuffle((weights * neighbours[:, :, None]).sum(1), DETAIL_STRIDE)
