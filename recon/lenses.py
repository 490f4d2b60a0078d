"""Contains the lenses of COLMAP 4: rays to normalised pixels and back, for every camera model (COLMAP's documentation, "Camera Models").

A pixel is x * fx + cx, y * fy + cy with the normalised x, y of here; a pinhole's are X / Z and Y / Z. Fisheye models take rays of any
direction. `radial` below is what the perspective models share, `theta` what the fisheye models share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FOCALS = {  # model -> (focal lengths, numbers of its distortion), in COLMAP's order
    "SIMPLE_PINHOLE": (1, 0), "PINHOLE": (2, 0), "SIMPLE_RADIAL": (1, 1), "RADIAL": (1, 2), "OPENCV": (2, 4), "OPENCV_FISHEYE": (2, 4),
    "FULL_OPENCV": (2, 8), "FOV": (2, 1), "SIMPLE_RADIAL_FISHEYE": (1, 1), "RADIAL_FISHEYE": (1, 2), "THIN_PRISM_FISHEYE": (2, 8),
    "RAD_TAN_THIN_PRISM_FISHEYE": (2, 12), "SIMPLE_DIVISION": (1, 1), "DIVISION": (2, 1), "SIMPLE_FISHEYE": (1, 0), "FISHEYE": (2, 0),
    "EUCM": (2, 2), "EQUIRECTANGULAR": (0, 0),
}  # fmt: skip
PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")
PERSPECTIVE = ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "FOV", "SIMPLE_DIVISION", "DIVISION")  # rays behind the camera have no pixel
STEPS, STEP, SHARES = 100, 1e-7, (1.0, 0.5, 0.25, 0.1, 0.02)  # of Newton's method: how many, of its differences, how far a step goes
CLOSE = 1e-9  # distance in normalised pixels at which a ray is found


@dataclass(frozen=True, kw_only=True)
class Lens:
    """The distortion of a lens, between the ray and the pixel that K makes of it."""

    model: str  # COLMAP's name
    params: tuple[float, ...] = ()  # without focal lengths and principal point


def is_pinhole(model: str, params: tuple[float, ...]) -> bool:
    """Whether the model with these numbers of its distortion bends nothing."""
    return model in PINHOLES or (model in ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "SIMPLE_DIVISION", "DIVISION") and not any(params))


def distort(model: str, params: tuple[float, ...], rays: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 2]
    """Normalised pixels of rays; NaN where the lens cannot see them. `params`: the numbers of the distortion alone."""
    X, Y, Z = (np.asarray(rays[..., i], float) for i in range(3))
    with np.errstate(all="ignore"):
        if model == "EQUIRECTANGULAR":
            return np.stack([np.arctan2(X, Z), np.arctan2(Y, np.hypot(X, Z))], -1)
        if model == "EUCM":
            alpha, beta = params
            scale = alpha * np.sqrt(beta * (X**2 + Y**2) + Z**2) + (1 - alpha) * Z
            return np.where((scale > 0)[..., None], np.stack([X / scale, Y / scale], -1), np.nan)
        if model in PINHOLES or model in PERSPECTIVE:
            x, y = (np.where(Z > 0, value / Z, np.nan) for value in (X, Y))
            return np.stack(_perspective(model, params, x, y), -1)
        r = np.hypot(X, Y)
        theta = np.arctan2(r, Z)
        turn = np.where(r > 1e-12, theta / np.maximum(r, 1e-300), 1 / np.where(Z == 0, np.nan, Z))
        return np.stack(_fisheye(model, params, X * turn, Y * turn), -1)


def _perspective(model: str, params: tuple[float, ...], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r2 = x**2 + y**2
    if model in PINHOLES:
        return x, y
    if model == "FOV":
        r, omega = np.sqrt(r2), params[0]
        factor = np.where(r2 * abs(omega) < 1e-12, 1.0, np.arctan(r * 2 * np.tan(omega / 2)) / (r * omega))
        return x * factor, y * factor
    if model in ("SIMPLE_DIVISION", "DIVISION"):  # x_pinhole = x / (1 + k r^2) solved for x
        inside = 1 - 4 * params[0] * r2
        factor = np.where(inside >= 0, 2 / (1 + np.sqrt(inside)), np.nan)
        return x * factor, y * factor
    k1, k2, p1, p2, k3, k4, k5, k6 = {
        "SIMPLE_RADIAL": lambda k: (k, 0, 0, 0, 0, 0, 0, 0), "RADIAL": lambda k1, k2: (k1, k2, 0, 0, 0, 0, 0, 0),
        "OPENCV": lambda *k: (*k, 0, 0, 0, 0), "FULL_OPENCV": lambda *k: k,
    }[model](*params)  # fmt: skip
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2), y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y


def _fisheye(model: str, params: tuple[float, ...], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x, y: the direction times the angle to the axis."""
    t2 = x**2 + y**2
    if model == "THIN_PRISM_FISHEYE":
        k1, k2, p1, p2, k3, k4, sx, sy = params
        radial = 1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))
        return (
            x * radial + 2 * p1 * x * y + p2 * (t2 + 2 * x**2) + sx * t2,
            y * radial + 2 * p2 * x * y + p1 * (t2 + 2 * y**2) + sy * t2,
        )
    tangential = (0.0,) * 6
    if model == "RAD_TAN_THIN_PRISM_FISHEYE":
        params, tangential = params[:6], params[6:]
    radial = np.ones_like(t2)
    for number, k in enumerate(params, 1):
        radial = radial + k * t2**number
    x, y = x * radial, y * radial
    p0, p1, s0, s1, s2, s3 = tangential
    t2 = x**2 + y**2
    return (
        x + p0 * (2 * x**2 + t2) + 2 * p1 * x * y + t2 * (s0 + t2 * s1),
        y + p1 * (2 * y**2 + t2) + 2 * p0 * x * y + t2 * (s2 + t2 * s3),
    )


def undistort(model: str, params: tuple[float, ...], xy: np.ndarray) -> np.ndarray:  # [n, 2] -> [n, 3]
    """Unit rays of normalised pixels, the inverse of `distort`; NaN where there is none.

    Newton's method on the angles of the ray, from where a lens without distortion has it, steps shortened until they help.
    """
    xy = np.asarray(xy, float)
    if model in PINHOLES:
        return _unit(np.concatenate([xy, np.ones((len(xy), 1))], 1))
    if model == "EQUIRECTANGULAR":
        east, south = xy.T
        return np.stack([np.sin(east) * np.cos(south), np.sin(south), np.cos(east) * np.cos(south)], 1)
    perspective = model in PERSPECTIVE or model == "EUCM"
    to_ray: Callable[[np.ndarray], np.ndarray] = _ray_of_slopes if perspective else _ray_of_angles
    at = xy.copy()
    error = distort(model, params, to_ray(at)) - xy
    for _ in range(STEPS):
        off = np.where(np.isfinite(error).all(1), np.abs(error).max(1), np.inf)
        if (off < CLOSE / 10).all() or not np.isfinite(off).any():
            break
        a, b, c, d = _slopes(model, params, to_ray, at)
        with np.errstate(all="ignore"):
            step = np.stack([d * error[:, 0] - b * error[:, 1], a * error[:, 1] - c * error[:, 0]], 1) / (a * d - b * c)[:, None]
        step = np.where(np.isfinite(step), step, 0.01 * at)  # where there is no slope: towards the middle
        pending = off >= CLOSE / 10
        for share in SHARES:
            new = distort(model, params, to_ray(at - share * step)) - xy
            better = pending & (np.where(np.isfinite(new).all(1), np.abs(new).max(1), np.inf) < off)
            at[better] -= share * step[better]
            error[better] = new[better]
            pending &= ~better
    a, b, c, d = _slopes(model, params, to_ray, at)
    found = np.isfinite(error).all(1) & (np.abs(error).max(1) < CLOSE)
    found &= (a * d - b * c > 0) & ((at * xy).sum(1) >= 0)  # beyond its edge a formula folds back, or comes out on the other side
    return np.where(found[:, None], to_ray(at), np.nan)


def _slopes(model: str, params: tuple[float, ...], to_ray: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> list[np.ndarray]:
    """The four derivatives [n] of `distort` at rays, row by row."""
    columns = [(distort(model, params, to_ray(at + move)) - distort(model, params, to_ray(at - move))) / (2 * STEP) for move in STEP * np.eye(2)]
    return [columns[j][:, i] for i in range(2) for j in range(2)]


def _unit(rays: np.ndarray) -> np.ndarray:
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _ray_of_slopes(xy: np.ndarray) -> np.ndarray:
    return _unit(np.concatenate([xy, np.ones((len(xy), 1))], 1))


def _ray_of_angles(xy: np.ndarray) -> np.ndarray:
    theta = np.hypot(xy[:, 0], xy[:, 1])
    return np.concatenate([xy * np.sinc(theta / np.pi)[:, None], np.cos(theta)[:, None]], 1)
