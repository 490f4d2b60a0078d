"""Contains ReconSmallModel: recon-small with the way from its outputs to a Scene (cameras from matches, depth from the pointmap).

    photos --320 px--> forward: depth, validity, lens prior, fallback pose        (coordinates hold at the trained size)
           --640 px--> descriptors -> matches (+ SIFT) -> relative poses -> bundle (matches gain from resolution)
    depth of each view scaled to the tracks, unprojected with the cameras, one Gaussian a pixel
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from recon.geometry import unproject
from recon.models import placement
from recon.models.agreement import compare
from recon.models.depth_alignment import log_scale, smooth_correction
from recon.models.grids import move_K, move_maps, move_points, principal_points, sample_points
from recon.models.pixel_gaussians import pixel_gaussians
from recon.models.placement import MatchKind, Sight
from recon.models.recon_small import ReconSmall, ReconSmallParams

if TYPE_CHECKING:
    from recon.bundle import Bundle
    from recon.images import Images
    from recon.models.spec import Progress
    from recon.scene import Cameras, PlacedBy, Scene

log = logging.getLogger(__name__)
POINTMAP_LONG_SIDE, MATCH_LONG_SIDE = 320, 640
PAIR_LIMIT = 150
FOCAL_SIGMA, EXIF_SIGMA = 0.25, 0.08  # widths of the prior in log focal: from the network, from EXIF
LENS_TEMPERATURE = 2.0  # the network is surer of the lens on photos than it has reason to be
USUAL_FOCAL, USUAL_SIGMA = 0.9, 0.5  # the lenses that people use, by the image diagonal: centre and width in log
LEAST_CONFIDENCE = 0.02  # below it a pose from matches is no better than the pointmap's


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The network's outputs on the pointmap grid, on the CPU."""

    log_depth: Tensor  # [V, h, w]
    confidence: Tensor  # [V, h, w] >= 1
    valid: Tensor  # [V, h, w] 0..1
    gaussians: Tensor  # [V, h, w, 13] corrections of pixel_gaussians
    local: np.ndarray  # [V, h, w, 3] points in each view's axes, the network's scale
    focal: np.ndarray  # [V] pixels of this grid
    lens_logs: np.ndarray  # [bins] log(focal / image diagonal)
    lens: np.ndarray  # [V, bins] log density over lens_logs, unnormalised
    cam_to_world: np.ndarray  # [V, 4, 4] Procrustes, axes of view 0, the network's scale
    residual: np.ndarray  # [V] relative residual of that fit
    similarity: np.ndarray  # [V, V]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Cameras on the match grid, in one world."""

    K: np.ndarray  # [V, 3, 3]
    cam_to_world: np.ndarray  # [V, 4, 4]
    placed_by: tuple[PlacedBy, ...]
    confidence: np.ndarray  # [V]
    log_scales: np.ndarray  # [V] of each view's depth


def lens_density(logits: Tensor, params: ReconSmallParams) -> tuple[np.ndarray, np.ndarray]:  # [V, bins] -> [bins], [V, bins]
    """log(focal / image diagonal) of the bins and each view's log density: the network's, tempered, times that of the lenses that people use."""
    low, high = (math.log(x) for x in params.lens_range)
    logs = np.linspace(low, high, params.lens_bins)
    network = logits.log_softmax(-1).double().cpu().numpy() / LENS_TEMPERATURE
    return logs, network - 0.5 * ((logs - math.log(USUAL_FOCAL)) / USUAL_SIGMA) ** 2


class ReconSmallModel(ReconSmall):
    """ReconSmall that also takes Images and gives a Scene."""

    def __call__(self, images, **options):  # Tensor -> dict of tensors (nn.Module's way), Images -> Scene
        """The raw outputs of a tensor of images, or the scene of Images; see `reconstruct`."""
        return super().__call__(images) if isinstance(images, Tensor) else self.reconstruct(images, **options)

    @torch.inference_mode()
    def reconstruct(
        self, images: Images, *, cameras: Cameras | None = None, matches: MatchKind = "both", match_long_side: int = MATCH_LONG_SIDE,
        pointmap_long_side: int = POINTMAP_LONG_SIDE, progress: Progress | None = None, seed: int = 0,
    ) -> Scene:  # fmt: skip
        """The scene of the photos on the grid of `images`.

        `cameras` (on the grid of `images`; NaN where unknown) are kept; `matches` says which correspondences place the views.
        The long sides are the resolutions of the network's two branches.
        """
        from recon.images import resize

        tell = progress or (lambda text, share: None)
        tell("depth", 0.0)
        coarse, fine = resize(images, pointmap_long_side), resize(images, match_long_side)
        prediction = self.predict(coarse)
        views = len(images.rgb)
        found = {}
        if views > 1 and matches != "none":
            tell("matches", 0.3)
            pairs = placement.choose_pairs(views, prediction.similarity, PAIR_LIMIT)
            found = placement.find_matches(self, fine, pairs, matches, lambda share: tell("matches", 0.3 + 0.4 * share))
        tell("cameras", 0.7)
        placed, bundle = solve(images, coarse, fine, prediction, found, cameras)
        tell("points", 0.9)
        scene = assemble(images, coarse, fine, prediction, placed, bundle, seed)
        tell("done", 1.0)
        return scene

    def predict(self, images: Images) -> Prediction:
        """The forward pass and everything that follows from it alone."""
        device = next(self.parameters()).device
        out = self.forward(images.rgb.to(device).float().permute(0, 3, 1, 2)[None])
        local, common = out["local"][0], out["common"][0]
        valid = out["validity"][0].sigmoid()
        inside = images.mask.to(device)
        poses, residuals = [], []
        for v in range(len(local)):
            weight = (1 - 1 / out["local_confidence"][0, v]) * (1 - 1 / out["common_confidence"][0, v]) + 1e-4
            keep = inside[v] & (valid[v] > 0.5)
            keep = keep if keep.sum() > 50 else torch.ones_like(keep)
            T, residual = placement.procrustes(local[v][keep], common[v][keep], weight[keep])
            poses.append(T)
            residuals.append(residual)
        first = np.linalg.inv(poses[0])
        logs, density = lens_density(out["lens"][0], self.params)
        share = np.exp(density - density.max(1, keepdims=True))
        return Prediction(
            log_depth=local[..., 2].clamp(min=1e-4).log().cpu(),
            confidence=out["local_confidence"][0].cpu(),
            valid=valid.cpu(),
            gaussians=out["gaussians"][0].cpu(),
            local=local.double().cpu().numpy(),
            focal=math.hypot(*local.shape[1:3]) * np.exp(share @ logs / share.sum(1)),
            lens_logs=logs,
            lens=density,
            cam_to_world=np.stack([first @ T for T in poses]),
            residual=np.array(residuals),
            similarity=placement.view_similarity(out["coarse"][0]),
        )


def sight_of(images: Images, coarse: Images, fine: Images, prediction: Prediction) -> Sight:
    """What is known of each view's focal length before any match: EXIF where it is there, else the network.

    Photos of one size share a camera: the network's answers are averaged (in log) over them.
    """
    V = len(images.rgb)
    eye = np.tile(np.eye(3), (V, 1, 1))
    network = eye.copy()
    network[:, 0, 0] = network[:, 1, 1] = prediction.focal
    alone = move_K(network, coarse, fine)[:, 0, 0]
    focal = alone.copy()
    sizes = [tuple(sorted((int(w), int(h)))) for w, h in zip(images.photo_width, images.photo_height, strict=True)]
    long = np.array([max(s) for s in sizes]) / np.array([max(s) for s in sizes]).max()
    for size in set(sizes):
        same = np.array([s == size for s in sizes])
        focal[same] = np.exp(np.log(focal[same] / long[same]).mean()) * long[same]
    exif = eye.copy()
    exif[:, 0, 0] = exif[:, 1, 1] = np.asarray(torch.as_tensor(images.focal).cpu(), float)
    known = move_K(exif, images, fine)[:, 0, 0]
    given = np.isfinite(known) & (known > 0)

    def log_prior(shifts: np.ndarray) -> np.ndarray:
        """Mean over the views of the density at `focal` times exp(shift)."""
        at = np.log(prediction.focal * focal / alone)[:, None] + shifts - math.log(math.hypot(*prediction.log_depth.shape[1:]))
        return np.mean([np.interp(a, prediction.lens_logs, density) for a, density in zip(at, prediction.lens, strict=True)], 0)

    def points(v: int, xy: np.ndarray) -> np.ndarray:
        at = move_points(xy, v, fine, coarse)
        return np.stack([sample_points(prediction.local[v, ..., k], at) for k in range(3)], -1)

    sigma = EXIF_SIGMA if given.all() else FOCAL_SIGMA
    return Sight(focal=np.where(given, known, focal), sigma=sigma, log_prior=None if given.any() else log_prior, points=points)


def given_cameras(cameras: Cameras | None, images: Images, fine: Images) -> tuple[np.ndarray | None, np.ndarray | None]:
    """K on the match grid and cam_to_world of known cameras; NaN matrices where unknown, None when there are none."""
    if cameras is None:
        return None, None
    K = np.asarray(cameras.K.detach().cpu(), float)
    T = np.asarray(cameras.cam_to_world.detach().cpu(), float)
    return move_K(K, images, fine), T


def solve(images: Images, coarse: Images, fine: Images, prediction: Prediction, found: dict, cameras: Cameras | None) -> tuple[Placed, Bundle | None]:
    """Cameras of all views: given ones kept, then from matches, then the network's own pose; and the bundle when there was one."""
    V = len(images.rgb)
    K_given, T_given = given_cameras(cameras, images, fine)
    sight = sight_of(images, coarse, fine, prediction)
    K = np.tile(np.eye(3), (V, 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = sight.focal
    K[:, :2, 2] = principal_points(fine)
    if K_given is not None:
        K = np.where(np.isfinite(K_given), K_given, K)
    has_pose = np.zeros(V, bool) if T_given is None else np.asarray(np.isfinite(T_given).all((1, 2)))
    T = np.full((V, 4, 4), np.nan) if T_given is None else T_given.copy()
    by: list[PlacedBy] = ["given" if g else "unplaced" for g in has_pose]
    confidence = np.where(has_pose, 1.0, 0.0)
    bundle = None
    if any(len(m) for kinds in found.values() for m in kinds):
        bundle = placement.place(fine, found, sight, K=K_given, cam_to_world=T_given)
        held = bundle.placed & (bundle.confidence > LEAST_CONFIDENCE)
        if held.sum() >= 2 or has_pose.any():
            K = bundle.K
            for v in np.flatnonzero(held & ~has_pose):
                T[v], by[v], confidence[v] = bundle.cam_to_world[v], "matches", bundle.confidence[v]
        else:
            bundle = None
    scales = depth_scales(prediction, coarse, fine, bundle, T)
    T, by, confidence = fill_poses(prediction, T, by, confidence, scales)
    scales = np.where(np.isfinite(scales), scales, np.nanmedian(scales))
    return Placed(K=K, cam_to_world=T, placed_by=tuple(by), confidence=confidence, log_scales=scales), bundle


def depth_scales(prediction: Prediction, coarse: Images, fine: Images, bundle: Bundle | None, T: np.ndarray) -> np.ndarray:
    """Log factor [V] that brings each view's depth to the world's scale; NaN where the view sees no track and nothing else tells."""
    V = len(T)
    scales = np.full(V, np.nan)
    if bundle is not None:
        for v in range(V):
            _, ratio, _ = track_ratios(prediction, coarse, fine, bundle, T, v)
            if len(ratio) >= 5:
                scales[v] = log_scale(ratio)
    if np.isfinite(scales).any():
        return np.where(np.isfinite(scales), scales, np.nanmedian(scales))
    known = np.flatnonzero(np.isfinite(T).all((1, 2)))
    if len(known) >= 2:  # cameras without tracks: the ratio of baselines
        span = lambda P: np.linalg.norm(P[known][:, None, :3, 3] - P[known][None, :, :3, 3], axis=-1).max()
        mine, theirs = span(T), span(prediction.cam_to_world)
        return np.full(V, math.log(mine / theirs) if mine > 1e-9 and theirs > 1e-9 else 0.0)
    return np.zeros(V)


def track_ratios(
    prediction: Prediction, coarse: Images, fine: Images, bundle: Bundle, T: np.ndarray, v: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the tracks that view v sees: pixels on the pointmap grid [n, 2], log(track depth / predicted depth) [n], log predicted [n]."""
    mine = bundle.view == v
    if not mine.any() or not np.isfinite(T[v]).all():
        return np.zeros((0, 2)), np.zeros(0), np.zeros(0)
    world_to_cam = np.linalg.inv(T[v])
    z = (bundle.points[bundle.point[mine]] @ world_to_cam[:3, :3].T + world_to_cam[:3, 3])[:, 2]
    xy = move_points(bundle.xy[mine], v, fine, coarse)
    predicted = sample_points(prediction.log_depth[v].double().numpy(), xy)
    good = np.isfinite(z) & (z > 1e-9)
    return xy[good], np.log(z[good]) - predicted[good], predicted[good]


def fill_poses(
    prediction: Prediction, T: np.ndarray, by: list[PlacedBy], confidence: np.ndarray, scales: np.ndarray
) -> tuple[np.ndarray, list[PlacedBy], np.ndarray]:
    """Poses of the views that nothing placed, from the network's own, carried over by the surest placed view."""
    T, by, confidence = T.copy(), list(by), confidence.copy()
    held = np.flatnonzero(np.isfinite(T).all((1, 2)))
    anchor = int(held[np.argmax(confidence[held])]) if len(held) else 0
    base = T[anchor] if len(held) else np.eye(4)
    scale = math.exp(scales[anchor]) if np.isfinite(scales[anchor]) else 1.0
    for v in range(len(T)):
        if np.isfinite(T[v]).all():
            continue
        step = np.linalg.inv(prediction.cam_to_world[anchor]) @ prediction.cam_to_world[v]
        step[:3, 3] *= scale
        T[v], by[v] = base @ step, "pointmap"
        confidence[v] = 0.3 * math.exp(-5 * float(prediction.residual[v]))
    return T, by, confidence


def assemble(images: Images, coarse: Images, fine: Images, prediction: Prediction, placed: Placed, bundle: Bundle | None, seed: int) -> Scene:
    """The scene on the grid of `images`: corrected depth, points, Gaussians, tracks."""
    from recon.scene import Cameras, Gaussians, Pointmaps, Scene

    log_depth = prediction.log_depth + torch.as_tensor(placed.log_scales, dtype=torch.float32)[:, None, None]
    if bundle is not None:
        corrected = []
        for v in range(len(log_depth)):
            xy, ratio, at = track_ratios(prediction, coarse, fine, bundle, placed.cam_to_world, v)
            corrected.append(smooth_correction(prediction.log_depth[v], xy, ratio - placed.log_scales[v], at, seed))
        log_depth = log_depth + torch.stack(corrected)
    maps = move_maps(torch.stack([log_depth, prediction.confidence.log(), prediction.valid], 1), coarse, images)
    depth, confidence = maps[:, 0].exp(), maps[:, 1].exp()
    mask = images.mask.cpu() & (maps[:, 2] > 0.5) & depth.isfinite()
    K = torch.as_tensor(move_K(placed.K, fine, images), dtype=torch.float32)
    T = torch.as_tensor(placed.cam_to_world, dtype=torch.float32)
    height, width = depth.shape[1:]
    local, points = unproject(depth, K), unproject(depth, K, T)
    corrections = move_maps(prediction.gaussians.permute(0, 3, 1, 2), coarse, images).permute(0, 2, 3, 1)
    means, quats, scales, opacities, sh = pixel_gaussians(local, images.rgb.cpu().float(), confidence, mask, K, T, corrections)
    cameras = Cameras(
        K=K, cam_to_world=T, width=width, height=height, placed_by=placed.placed_by,
        confidence=torch.as_tensor(placed.confidence, dtype=torch.float32),
    )
    return Scene(
        images=images, cameras=cameras, depth=depth, pointmaps=Pointmaps(points=points, confidence=confidence, mask=mask),
        gaussians=Gaussians(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh), tracks=scene_tracks(bundle, fine, images),
        metric=False, report={"agreement": agreement(prediction, coarse, fine, placed, bundle)},
    )  # fmt: skip


def agreement(prediction: Prediction, coarse: Images, fine: Images, placed: Placed, bundle: Bundle | None) -> list[dict[str, Any]]:
    """What `recon.models.agreement.compare` says of the network's uncorrected depth and the bundle; empty without a bundle."""
    if bundle is None or not len(bundle.points):
        return []
    depth = np.empty(len(bundle.view))
    for v in range(len(placed.K)):
        mine = bundle.view == v
        at = sample_points(prediction.log_depth[v].double().numpy(), move_points(bundle.xy[mine], v, fine, coarse))
        depth[mine] = np.exp(at + placed.log_scales[v])
    return compare(bundle, placed.K, placed.cam_to_world, depth)


def scene_tracks(bundle: Bundle | None, fine: Images, images: Images):
    """The bundle's points and observations in pixels of `images`; None without a bundle."""
    from recon.scene import Tracks

    if bundle is None or not len(bundle.points):
        return None
    xy = move_points(bundle.xy, bundle.view, fine, images)
    return Tracks(
        points=torch.as_tensor(bundle.points, dtype=torch.float32), view=torch.as_tensor(bundle.view), point=torch.as_tensor(bundle.point),
        xy=torch.as_tensor(xy, dtype=torch.float32), error=torch.as_tensor(bundle.error, dtype=torch.float32),
    )  # fmt: skip
