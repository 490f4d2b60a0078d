"""Contains the training losses of recon-small: pointmaps, matches at two strides, lens, validity."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.recon_small.network import COARSE_STRIDE, FINE_STRIDE, ReconSmall


def pointmap_loss(predicted: Tensor, confidence: Tensor, truth: Tensor, mask: Tensor, alpha: float = 0.2) -> tuple[Tensor, Tensor]:
    """Confidence-weighted relative distance (DUSt3R's form, errors divided by the true distance) and the plain error.

    predicted, truth [B, V, H, W, 3]; confidence, mask [B, V, H, W]. One free scale a scene: the mean ratio of distances.
    """
    weight = mask.float()
    distance = truth.norm(dim=-1).clamp(min=1e-3)
    ratio = predicted.norm(dim=-1) / distance
    scale = ((ratio.clamp(max=1e3) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)).clamp(min=1e-3)
    error = (predicted / scale[:, None, None, None, None] - truth).norm(dim=-1) / distance
    total = weight.sum().clamp(min=1)
    loss = ((confidence * error - alpha * confidence.log()) * weight).sum() / total
    return loss, (error * weight).sum() / total


def slope_loss(predicted_z: Tensor, true_z: Tensor, mask: Tensor) -> Tensor:
    """Difference of the log-depth steps over 2 and 8 pixels, inside surfaces (true step below 0.2). All [B, V, H, W]."""
    p, t = predicted_z.clamp(min=1e-4).log(), true_z.clamp(min=1e-4).log()
    loss = p.new_zeros(())
    for step in (2, 8):
        for dim in (-1, -2):
            n = p.shape[dim] - step
            a = t.narrow(dim, step, n) - t.narrow(dim, 0, n)
            b = p.narrow(dim, step, n) - p.narrow(dim, 0, n)
            m = mask.narrow(dim, step, n) & mask.narrow(dim, 0, n) & (a.abs() < 0.2)
            loss = loss + ((a - b).abs() * m).sum() / m.sum().clamp(min=1)
    return loss


def coarse_loss(a: Tensor, b: Tensor, scale: Tensor, uv: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of view a's cells [B, C, h, w] to the true cell of view b, and the share within one cell.

    uv [B, h, w, 2] true pixel of each cell centre in the other view, visible [B, h, w].
    """
    rows, columns = b.shape[-2:]
    logits = torch.einsum("bdn,bdm->bnm", a.flatten(2), b.flatten(2)).float() * scale
    cell = (uv / COARSE_STRIDE).floor().nan_to_num(0).long()
    x, y = cell[..., 0].clamp(0, columns - 1).flatten(1), cell[..., 1].clamp(0, rows - 1).flatten(1)
    seen = visible.flatten(1)
    entropy = logits.logsumexp(-1) - logits.gather(-1, (y * columns + x)[..., None])[..., 0]
    count = seen.sum().clamp(min=1)
    loss = (entropy * seen).sum() / count
    best = logits.detach().argmax(-1)
    near = ((best // columns - y).abs() <= 1) & ((best % columns - x).abs() <= 1)
    return loss, (near & seen).sum() / count


def window_logits(query: Tensor, fine: Tensor, base: Tensor, scale: Tensor, size: int) -> Tensor:
    """Similarities [B, n, size*size] of queries [B, C, n] to windows of fine [B, C, H, W] whose corner is base [B, n, 2]."""
    width = fine.shape[-1]
    k = torch.arange(size, device=fine.device)
    index = ((base[..., 1, None] + k) * width)[..., :, None] + (base[..., 0, None] + k)[..., None, :]
    dtype = torch.bfloat16 if fine.is_cuda else fine.dtype
    similarity = torch.einsum("bcn,bcm->bnm", query.to(dtype), fine.flatten(2).to(dtype))
    return similarity.gather(2, index.flatten(2)).float() * scale


def fine_queries(fine: Tensor) -> Tensor:
    """Descriptors [B, C, n] of the stride-8 cell centres, averaged from the four stride-4 cells [B, C, H, W] around them."""
    return F.normalize(F.avg_pool2d(fine, 2), dim=1).flatten(2)


def fine_loss(a: Tensor, b: Tensor, scale: Tensor, uv: Tensor, visible: Tensor, size: int = 7) -> Tensor:
    """Cross-entropy to the bilinear soft target in a jittered window, so that the soft-argmax has no bias."""
    rows, columns = b.shape[-2:]
    target = (uv / FINE_STRIDE - 0.5).flatten(1, 2).nan_to_num(0)
    base = target.floor().long() - 2 + torch.randint(-2, 2, target.shape, device=target.device)
    base = torch.stack([base[..., 0].clamp(0, columns - size), base[..., 1].clamp(0, rows - size)], -1)
    log_p = F.log_softmax(window_logits(fine_queries(a), b, base, scale, size), -1).unflatten(-1, (size, size))
    k = torch.arange(size, device=a.device)
    wx = (1 - (target[..., 0, None] - base[..., 0, None] - k).abs()).clamp(min=0)
    wy = (1 - (target[..., 1, None] - base[..., 1, None] - k).abs()).clamp(min=0)
    soft = wy[..., :, None] * wx[..., None, :]
    use = visible.flatten(1) & (soft.sum((-1, -2)) > 0.5)
    return (-(soft * log_p).sum((-1, -2)) * use).sum() / use.sum().clamp(min=1)


def lens_target(focal: Tensor, height: int, width: int, bins: int, limits: tuple[float, float]) -> Tensor:
    """Soft two-bin target [..., bins] for focal lengths [...] in pixels, linear in log(focal / diagonal)."""
    low, high = math.log(limits[0]), math.log(limits[1])
    position = ((focal / math.hypot(height, width)).log() - low) / (high - low) * (bins - 1)
    k = torch.arange(bins, device=focal.device)
    return (1 - (position.clamp(0, bins - 1)[..., None] - k).abs()).clamp(min=0)


def total_loss(net: ReconSmall, out: dict[str, Tensor], batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum and its parts; batch: local, common, mask, sky, focal, matches {(i, j): (uv, visible)}."""
    local, local_error = pointmap_loss(out["local"], out["local_confidence"], batch["local"], batch["mask"])
    common, common_error = pointmap_loss(out["common"], out["common_confidence"], batch["common"], batch["mask"])
    slope = slope_loss(out["local"][..., 2], batch["local"][..., 2], batch["mask"])
    scales = net.scales()
    coarse = fine = hits = local.new_zeros(())
    pairs = batch["matches"]
    for (i, j), (uv, visible) in pairs.items():
        c, h = coarse_loss(out["coarse"][:, i], out["coarse"][:, j], scales[0], uv, visible)
        f = fine_loss(out["fine"][:, i], out["fine"][:, j], scales[1], uv, visible)
        coarse, fine, hits = coarse + c, fine + f, hits + h
    n = len(pairs)
    height, width = out["local"].shape[2:4]
    target = lens_target(batch["focal"], height, width, net.params.lens_bins, net.params.lens_range)
    lens = -(target * out["lens"].log_softmax(-1)).sum(-1).mean()
    validity = F.binary_cross_entropy_with_logits(out["validity"], (~batch["sky"]).float())
    loss = local + common + 0.2 * slope + (0.2 * coarse + 0.15 * fine) / max(n, 1) + 0.3 * lens + 0.1 * validity
    parts = dict(
        loss=loss, local=local_error, common=common_error, slope=slope, coarse=coarse / max(n, 1),
        fine=fine / max(n, 1), hits=hits / max(n, 1), lens=lens, validity=validity,
    )  # fmt: skip
    return loss, {k: v.detach() for k, v in parts.items()}
