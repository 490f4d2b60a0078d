"""Contains the training of the Gaussian head alone: two views are turned into Gaussians, rendered from a third, and compared with what it sees."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import Tensor

from recon.geometry import unproject
from recon.models.recon_small.network import COARSE_STRIDE, ReconSmall
from recon.models.training.correspondence import correspond
from recon.models.training.generator import SceneGenerator, Views
from recon.models.training.photometrics import expose
from recon.models.training.viewpoints import camera_matrices
from recon.render import render
from recon.scene import Cameras, Gaussians
from recon.surfaces.pixel_gaussians import pixel_gaussians

LEAST_SEEN = 0.2  # share of the third view that the first two must see


def scene_cameras(rows: Tensor, height: int, width: int) -> Cameras:  # [V, 16] of draw_cameras
    """The same cameras in the project's types."""
    K, T = camera_matrices(rows)
    return Cameras(K=K, cam_to_world=T, width=width, height=height)


def gaussians_of(out: dict[str, Tensor], images: Tensor, depth: Tensor, cameras: Cameras, scene: int, *, corrected: bool = True) -> Gaussians | None:
    """Gaussians of the scene's input views in the true cameras, from the network's depth at the true scale; None where nothing is valid.

    out: of the network; images [B, V, 3, H, W]; depth [B, V, H, W] the true one, of which only the scale is used.
    """
    z = out["local"][scene, ..., 2].detach()
    views = len(z)
    truth = depth[scene, :views]
    both = (truth > 0) & (out["validity"][scene] > 0)
    if both.sum() < 50:
        return None
    z = z * (truth[both] / z[both]).median()
    K = cameras.K[:views]
    rgb = images[scene, :views].permute(0, 2, 3, 1)
    means, quats, scales, opacities, sh = pixel_gaussians(
        unproject(z, K), rgb, out["local_confidence"][scene].detach(), out["validity"][scene] > 0, K, cameras.cam_to_world[:views],
        out["gaussians"][scene] if corrected else None,
    )  # fmt: skip
    return Gaussians(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh)


def seen_by_inputs(views: Views) -> Tensor:  # [B, H, W] bool
    """Which pixels of the last view one of the others sees."""
    last = views.depth.shape[1] - 1
    seen = torch.stack([ok for _, ok in correspond(views.depth, views.cameras, [(last, v) for v in range(last)]).values()]).any(0)
    return seen.repeat_interleave(COARSE_STRIDE, -1).repeat_interleave(COARSE_STRIDE, -2)


def novel_view_loss(net: ReconSmall, views: Views, color: Tensor, *, corrected: bool = True) -> tuple[Tensor | None, list[float]]:
    """Mean absolute difference in the last view where the others see its surface, plus the opacity where nothing is; and each scene's PSNR."""
    height, width = views.depth.shape[-2:]
    images = color.permute(0, 1, 4, 2, 3)
    out = net(images[:, :-1])
    visible = seen_by_inputs(views)
    losses, psnr = [], []
    for b in range(len(color)):
        cameras = scene_cameras(views.cameras[b], height, width)
        gaussians = gaussians_of(out, images, views.depth, cameras, b, corrected=corrected)
        if gaussians is None or visible[b].float().mean() < LEAST_SEEN:
            continue
        picture = render(gaussians, cameras[-1:], background=(0.5, 0.5, 0.5), check=False)
        error = picture.color[0] - color[b, -1]
        empty = views.depth[b, -1] == 0
        losses.append(error.abs().mean(-1)[visible[b]].mean() + 0.1 * (picture.alpha[0] * empty).mean())
        psnr.append(float(-10 * error.detach()[visible[b]].square().mean().clamp(min=1e-8).log10()))
    return (torch.stack(losses).mean() if losses else None), psnr


def train_gaussian_head(
    net: ReconSmall, generator: SceneGenerator, *, minutes: float, save: Path, log: Path, scenes: int = 2, height: int = 96, width: int = 128,
    lr: float = 4e-3,
) -> None:  # fmt: skip
    """Trains `gaussian_out` in place, everything else held, until the time is up; weights go to `save` every minute, a line a step to `log`."""
    from recon.weights import pack

    for parameter in net.parameters():
        parameter.requires_grad_(False)
    head = list(net.gaussian_out.parameters())
    for parameter in head:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(head, lr=lr, betas=(0.9, 0.98))
    start = saved = time.monotonic()
    step = 0
    while (elapsed := (time.monotonic() - start) / 60) < minutes:
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / 20) * (1.02 - elapsed / minutes)
        with torch.no_grad():
            views = generator.render(scenes, 3, height, width)
            color = expose(generator.dice, views.color, views.depth > 0)
        loss, psnr = novel_view_loss(net, views, color)
        step += 1
        if loss is None:
            continue
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head, 1.0)
        optimizer.step()
        with open(log, "a") as file:
            row = {"step": step, "minutes": round(elapsed, 2), "loss": round(loss.item(), 4), "psnr": [round(p, 2) for p in psnr]}
            file.write(json.dumps(row) + "\n")
        if time.monotonic() - saved > 60:
            pack(net.state_dict(), save)
            saved = time.monotonic()
    pack(net.state_dict(), save)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
