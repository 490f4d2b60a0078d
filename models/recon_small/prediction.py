"""Contains what recon-small says of a set of photos by itself: its maps, its rough poses, and its prior of the lenses."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recon.cameras.sight import Sight
from recon.models.recon_small.matches import view_similarity
from recon.models.recon_small.network import ReconSmall, ReconSmallParams
from recon.photos.moves import move_K

if TYPE_CHECKING:
    from recon.scene import Images

FOCAL_SIGMA, EXIF_SIGMA = 0.25, 0.08  # widths of the prior in log focal: from the network, from EXIF
LENS_TEMPERATURE = 2.0  # the network is surer of the lens on photos than it has reason to be
GROUP = 8  # views in one forward pass
USUAL_FOCAL, USUAL_SIGMA = 0.9, 0.5  # the lenses that people use, by the image diagonal: centre and width in log


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
    group: np.ndarray  # [V] views of one forward pass; poses and scales of different groups have nothing to do with each other
    similarity: np.ndarray  # [V, V]


def predict(net: ReconSmall, images: Images) -> Prediction:
    """The forward pass and everything that follows from it alone, for GROUP views at a time: its cost grows with the square of their number."""
    views = len(images.rgb)
    groups = np.array_split(np.arange(views), math.ceil(views / GROUP))
    parts = [_predict_group(net, images[torch.from_numpy(g)] if len(groups) > 1 else images) for g in groups]
    coarse = torch.cat([coarse for _, coarse in parts])
    joined = {}
    for f in fields(Prediction):
        values = [getattr(part, f.name) for part, _ in parts]
        joined[f.name] = torch.cat(values) if isinstance(values[0], Tensor) else np.concatenate(values)
    joined["group"] = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    return Prediction(**{**joined, "lens_logs": parts[0][0].lens_logs, "similarity": view_similarity(coarse)})


def _predict_group(net: ReconSmall, images: Images) -> tuple[Prediction, Tensor]:
    """Some views together; their similarity is left at zero, their coarse descriptors come beside it."""
    device = next(net.parameters()).device
    out = net.forward(images.rgb.to(device).float().permute(0, 3, 1, 2)[None])
    local, common = out["local"][0], out["common"][0]
    valid = out["validity"][0].sigmoid()
    inside = images.mask.to(device)
    poses, residuals = [], []
    for v in range(len(local)):
        weight = (1 - 1 / out["local_confidence"][0, v]) * (1 - 1 / out["common_confidence"][0, v]) + 1e-4
        keep = inside[v] & (valid[v] > 0.5)
        keep = keep if keep.sum() > 50 else torch.ones_like(keep)
        T, residual = procrustes(local[v][keep], common[v][keep], weight[keep])
        poses.append(T)
        residuals.append(residual)
    first = np.linalg.inv(poses[0])
    logs, density = lens_density(out["lens"][0], net.params)
    share = np.exp(density - density.max(1, keepdims=True))
    prediction = Prediction(
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
        group=np.zeros(len(local), int),
        similarity=np.zeros((len(local), 0)),
    )
    return prediction, out["coarse"][0]


def lens_density(logits: Tensor, params: ReconSmallParams) -> tuple[np.ndarray, np.ndarray]:  # [V, bins] -> [bins], [V, bins]
    """log(focal / image diagonal) of the bins and each view's log density: the network's, tempered, times that of the lenses that people use."""
    low, high = (math.log(x) for x in params.lens_range)
    logs = np.linspace(low, high, params.lens_bins)
    network = logits.log_softmax(-1).double().cpu().numpy() / LENS_TEMPERATURE
    return logs, network - 0.5 * ((logs - math.log(USUAL_FOCAL)) / USUAL_SIGMA) ** 2


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

    sigma = EXIF_SIGMA if given.all() else FOCAL_SIGMA
    return Sight(
        focal=np.where(given, known, focal), sigma=sigma, log_prior=None if given.any() else log_prior, grid=coarse, log_depth=prediction.log_depth,
        local=prediction.local, cam_to_world=prediction.cam_to_world, residual=prediction.residual,
        group=prediction.group,
    )  # fmt: skip


def procrustes(local: Tensor, common: Tensor, weight: Tensor) -> tuple[np.ndarray, float]:  # [n, 3], [n, 3], [n]
    """Pose [4, 4] (local axes to common) with common ~ R local + t at one scale, weighted; and the relative residual.

    Kabsch's closed form; both maps share the scene's scale, so that no scale is fitted.
    """
    x, y, w = local.double(), common.double(), (weight / weight.sum()).double()[:, None]
    for _ in range(3):
        mx, my = (w * x).sum(0), (w * y).sum(0)
        U, _, Vt = torch.linalg.svd((w * (y - my)).T @ (x - mx))
        flip = torch.diag(torch.tensor([1.0, 1.0, torch.linalg.det(U @ Vt).sign().item()], dtype=torch.float64, device=x.device))
        R = U @ flip @ Vt
        t = my - R @ mx
        error = (x @ R.T + t - y).norm(dim=1) / y.norm(dim=1).clamp(min=1e-6)
        middle = error.median().clamp(min=1e-6)
        w = weight.double()[:, None] / (1 + (error / middle) ** 2)[:, None]
        w = w / w.sum()
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R.cpu().numpy(), t.cpu().numpy()
    return T, float(middle)
