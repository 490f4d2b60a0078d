"""Pinhole geometry on tensors: projecting, rigid and similarity motions, quaternions, normals, focal length and pose from points.

Pixel (0, 0) has its centre at (0.5, 0.5); camera axes are OpenCV's. All but `pnp` is differentiable; leading dimensions are batches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.errors import GeometryError, ShapeError

TINY = 1e-12


def pixel_grid(height: int, width: int, *, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixel centres (x, y) [H, W, 2]."""
    y, x = (torch.arange(n, device=device, dtype=dtype) + 0.5 for n in (height, width))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)


def invert_rigid(T: Tensor) -> Tensor:  # [..., 4, 4] -> [..., 4, 4]
    """The inverse of rotations with translations."""
    R = T[..., :3, :3].transpose(-1, -2)
    top = torch.cat([R, -R @ T[..., :3, 3:]], -1)
    return torch.cat([top, T[..., 3:, :]], -2)


def invert_K(K: Tensor) -> Tensor:  # [..., 3, 3] -> [..., 3, 3]
    """The inverse of lenses, which are upper triangular with a last row of 0, 0, 1."""
    fx, fy, skew, cx, cy = K[..., 0, 0], K[..., 1, 1], K[..., 0, 1], K[..., 0, 2], K[..., 1, 2]
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = [1 / fx, -skew / (fx * fy), (skew * cy / fy - cx) / fx, zero, 1 / fy, -cy / fy, zero, zero, one]
    return torch.stack(rows, -1).reshape(K.shape)


def transform(T: Tensor, points: Tensor) -> Tensor:  # [..., 4, 4], [..., N, 3] -> [..., N, 3]
    """Points moved by T."""
    return points @ T[..., :3, :3].transpose(-1, -2) + T[..., None, :3, 3]


def project(points: Tensor, K: Tensor, world_to_cam: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pixels [..., N, 2] and z [..., N] of points [..., N, 3]; where z <= 0 the pixel means nothing.

    K [..., 3, 3]; without world_to_cam [..., 4, 4] the points are in camera axes.
    """
    local = points if world_to_cam is None else transform(world_to_cam, points)
    z = local[..., 2]
    safe = torch.where(z.abs() < TINY, torch.full_like(z, TINY), z)
    return (local / safe[..., None] @ K.transpose(-1, -2))[..., :2], z


def unproject_at(xy: Tensor, depth: Tensor, K: Tensor) -> Tensor:  # [..., N, 2], [..., N], [..., 3, 3] -> [..., N, 3]
    """Points in camera axes of pixels with depth (z)."""
    y = (xy[..., 1] - K[..., 1, 2, None]) / K[..., 1, 1, None]
    x = (xy[..., 0] - K[..., 0, 2, None] - K[..., 0, 1, None] * y) / K[..., 0, 0, None]
    return torch.stack([x, y, torch.ones_like(x)], -1) * depth[..., None]


def unproject(depth: Tensor, K: Tensor, cam_to_world: Tensor | None = None) -> Tensor:
    """Points [..., H, W, 3] of depth maps (z) [..., H, W]; in camera axes without cam_to_world [..., 4, 4]. K [..., 3, 3]."""
    height, width = depth.shape[-2:]
    xy = pixel_grid(height, width, device=depth.device, dtype=depth.dtype).reshape(-1, 2)
    points = unproject_at(xy, depth.flatten(-2), K)
    if cam_to_world is not None:
        points = transform(cam_to_world, points)
    return points.reshape(*points.shape[:-2], height, width, 3)


def umeyama(source: Tensor, target: Tensor, weight: Tensor | None = None, *, with_scale: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """scale [...], R [..., 3, 3], t [..., 3] with target = scale * R @ source + t in weighted least squares (Umeyama 1991, eq. 40 to 42).

    source, target [..., N, 3], weight [..., N] >= 0. The gradient is not finite where two singular values agree (points on a line or alike
    in all directions). Raises ShapeError.
    """
    if source.shape != target.shape or source.shape[-1] != 3 or (weight is not None and weight.shape != source.shape[:-1]):
        got = f"{list(source.shape)}, {list(target.shape)}" + (f", weight {list(weight.shape)}" if weight is not None else "")
        raise ShapeError(f"umeyama got {got}; wanted [..., N, 3] twice and weight [..., N]")
    w = torch.ones_like(source[..., 0]) if weight is None else weight.to(source.dtype)
    w = (w / w.sum(-1, keepdim=True).clamp(min=TINY))[..., None]
    mean_s, mean_t = (w * source).sum(-2), (w * target).sum(-2)
    s, t = source - mean_s[..., None, :], target - mean_t[..., None, :]
    U, D, Vh = torch.linalg.svd((w * t).transpose(-1, -2) @ s)
    sign = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0).to(D)
    S = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    R = U @ (S[..., None] * Vh)
    scale = (D * S).sum(-1) / (w * s * s).sum((-1, -2)).clamp(min=TINY) if with_scale else torch.ones_like(sign)
    return scale, R, mean_t - scale[..., None] * (R @ mean_s[..., None])[..., 0]


def procrustes(source: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """R [..., 3, 3], t [..., 3]: umeyama with scale 1."""
    return umeyama(source, target, weight, with_scale=False)[1:]


def quats_to_matrices(quats: Tensor) -> Tensor:  # [..., 4] wxyz -> [..., 3, 3]
    """Rotations of quaternions of any length but zero."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True).clamp(min=TINY)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*quats.shape[:-1], 3, 3)


def matrices_to_quats(R: Tensor) -> Tensor:  # [..., 3, 3] -> [..., 4] wxyz
    """Unit quaternions of rotations, from the largest of the four components (Shepperd 1978); the sign makes that component positive."""
    d = R.diagonal(dim1=-2, dim2=-1)
    trace = d.sum(-1)
    a, b, c = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    e, f, g = R[..., 0, 1] + R[..., 1, 0], R[..., 0, 2] + R[..., 2, 0], R[..., 1, 2] + R[..., 2, 1]
    x, y, z = (1 + 2 * d[..., i] - trace for i in range(3))
    table = torch.stack([1 + trace, a, b, c, a, x, e, f, b, e, y, g, c, f, g, z], -1).reshape(*R.shape[:-2], 4, 4)
    choice = torch.cat([trace[..., None], d], -1).argmax(-1)
    q = table.gather(-2, choice[..., None, None].expand(*choice.shape, 1, 4))[..., 0, :]
    return q / q.norm(dim=-1, keepdim=True)


def normals_from_points(points: Tensor) -> Tensor:  # [..., H, W, 3] -> [..., H, W, 3]
    """Unit normals towards the camera of pointmaps, from the shorter of both neighbour steps (edges do not bleed); zero where undefined."""

    def shorter(dim: int) -> Tensor:
        step = points.diff(dim=dim)
        before = torch.cat([step.narrow(dim, 0, 1), step], dim)
        after = torch.cat([step, step.narrow(dim, step.shape[dim] - 1, 1)], dim)
        return torch.where(before.square().sum(-1, keepdim=True) < after.square().sum(-1, keepdim=True), before, after)

    if points.shape[-3] < 2 or points.shape[-2] < 2:
        raise ShapeError(f"points are {list(points.shape)}, wanted at least 2 x 2 pixels")
    return torch.nn.functional.normalize(torch.linalg.cross(shorter(-3), shorter(-2)), dim=-1, eps=TINY)


def focal_from_points(points: Tensor, *, principal: Tensor | None = None, mask: Tensor | None = None, iterations: int = 10) -> Tensor:
    """Focal length [...] in pixels that best explains pointmaps [..., H, W, 3] in camera axes.

    Least squares in closed form, then `iterations` re-weightings by 1/residual (Weiszfeld; DUSt3R, section 3.3). `principal` [..., 2]
    (default: the centre), `mask` [..., H, W] bool; points with z <= 0 or not finite are left out. NaN where nothing is left.
    """
    height, width = points.shape[-3:-1]
    centre = points.new_tensor([width / 2, height / 2]) if principal is None else principal.to(points)[..., None, None, :]
    pixel = pixel_grid(height, width, device=points.device, dtype=points.dtype) - centre
    use = points.isfinite().all(-1) & (points[..., 2] > 0)
    if mask is not None:
        use = use & mask
    safe = torch.where(use[..., None], points, torch.ones_like(points))
    ray = safe[..., :2] / safe[..., 2:]
    dot, square = (ray * pixel).sum(-1), (ray * ray).sum(-1)
    weight = use.to(points)
    focal = (weight * dot).sum((-1, -2)) / (weight * square).sum((-1, -2))
    for _ in range(iterations):
        residual = (pixel - focal[..., None, None, None] * ray).norm(dim=-1)
        weight = use / residual.clamp(min=1e-6)
        focal = (weight * dot).sum((-1, -2)) / (weight * square).sum((-1, -2))
    return focal


def pnp(points: Tensor, xy: Tensor, K: Tensor, *, threshold: float = 3.0, iterations: int = 200) -> tuple[Tensor, Tensor]:
    """world_to_cam [4, 4] and inlier mask [N] of world points [N, 3] seen at pixels xy [N, 2] through K [3, 3]; not differentiable.

    RANSAC over SQPnP (Terzakis and Lourakis 2020), then Levenberg-Marquardt on the inliers; `threshold` in pixels. Needs 4 points.
    Raises ShapeError, and GeometryError when no camera agrees with at least 4 of the points.
    """
    import cv2

    count = len(points)
    if points.shape != (count, 3) or xy.shape != (count, 2) or K.shape != (3, 3):
        raise ShapeError(f"pnp got {list(points.shape)}, {list(xy.shape)}, {list(K.shape)}; wanted [N, 3], [N, 2], [3, 3]")
    P, p, k = (np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float64) for x in (points, xy, K))
    rows = np.flatnonzero(np.isfinite(P).all(1) & np.isfinite(p).all(1))
    if len(rows) < 4:
        raise GeometryError(f"a pose needs 4 points, got {len(rows)}")
    try:
        found, rotation, t, inliers = cv2.solvePnPRansac(
            P[rows], p[rows], k, None, reprojectionError=threshold, iterationsCount=iterations, confidence=0.9999, flags=cv2.SOLVEPNP_SQPNP
        )
        if not found or inliers is None or len(inliers) < 4:
            raise GeometryError(f"no camera agrees with 4 of {len(rows)} points within {threshold} px")
        chosen = rows[np.asarray(inliers, dtype=np.int64).reshape(-1)]
        rotation, t = cv2.solvePnPRefineLM(P[chosen], p[chosen], k, None, rotation, t)
    except cv2.error as error:
        raise GeometryError(f"no camera fits the {len(rows)} points: {error}") from error
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(rotation)[0], np.asarray(t).reshape(3)
    if not np.isfinite(T).all():
        raise GeometryError(f"the {len(rows)} points determine no camera")
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.from_numpy(chosen)] = True
    return torch.from_numpy(T).to(points), mask.to(points.device)
