"""Figures of a reconstruction against known cameras and depth; the work of `recon eval DIR`.

DIR holds sets anywhere below it: a folder with `cameras.json`, a list of {image, K, T_world_from_cam, [depth], [mask], [K_depth]} with
pixel centres at integers (one half is added here), and, in DIR, `pairs.json`: set name -> lists of index pairs.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLDS = (5, 10, 20, 30)


def auc(errors: Sequence[float], threshold: float) -> float:
    """Exact area under the curve recall(error) from 0 to `threshold`, divided by it; a failed pair is an infinite error; NaN for none."""
    e = np.asarray(errors, float)
    e = np.where(np.isfinite(e), e, np.inf)
    return float(np.clip(1 - e / threshold, 0, 1).mean()) if len(e) else float("nan")


def rotation_error_degrees(R: np.ndarray, truth: np.ndarray) -> float:  # [3, 3], [3, 3]
    """Angle of the rotation between the two, stable near 0 and 180 degrees."""
    D = np.asarray(R, float).T @ np.asarray(truth, float)
    axis = np.array([D[2, 1] - D[1, 2], D[0, 2] - D[2, 0], D[1, 0] - D[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(D) - 1)))


def direction_error_degrees(t: np.ndarray, truth: np.ndarray) -> float:  # [3], [3]
    """Angle between two directions with their sign; 180 when either has no length."""
    t, truth = np.asarray(t, float), np.asarray(truth, float)
    if np.linalg.norm(t) < 1e-12 or np.linalg.norm(truth) < 1e-12:
        return 180.0
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(t, truth)), t @ truth)))


def relative(cam_to_world_a: np.ndarray, cam_to_world_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [4, 4] twice
    """R_b_a and t with x_b = R x_a + t."""
    T = np.linalg.inv(np.asarray(cam_to_world_b, float)) @ np.asarray(cam_to_world_a, float)
    return T[:3, :3], T[:3, 3]


def pose_errors(cam_to_world: np.ndarray, truth: np.ndarray) -> tuple[float, float]:  # [2, 4, 4], [2, 4, 4]
    """Rotation and translation-direction error of two views in degrees; infinite for a pose that is not finite."""
    if not np.isfinite(cam_to_world).all():
        return float("inf"), float("inf")
    (R, t), (Q, s) = relative(*cam_to_world), relative(*truth)
    return rotation_error_degrees(R, Q), direction_error_degrees(t, s)


def focal_error(K: np.ndarray, truth: np.ndarray) -> float:  # [3, 3], [3, 3] of the same image size
    """Relative error of the mean focal length."""
    return float(abs((K[0, 0] + K[1, 1]) / (truth[0, 0] + truth[1, 1]) - 1))


def align_sim3(points: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:  # [n, 3], [n, 3]
    """scale, R, t with truth ~ scale R points + t, least squares (Umeyama 1991)."""
    a, b = points - points.mean(0), truth - truth.mean(0)
    U, S, Vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.sign(np.linalg.det(U @ Vt)) or 1.0])
    R = U @ flip @ Vt
    scale = float((S * flip.diagonal()).sum() / max((a**2).sum(), 1e-30))
    return scale, R, truth.mean(0) - scale * R @ points.mean(0)


def camera_centre_errors(cam_to_world: np.ndarray, truth: np.ndarray) -> np.ndarray:  # [V, 4, 4] twice -> [V]
    """Distance of each centre from the truth after Sim(3), divided by the camera extent (the largest distance of two true centres).

    Views whose pose is not finite are left out of the alignment and are infinite. Fewer than three leave nothing to measure: NaN.
    """
    centres, true = np.asarray(cam_to_world, float)[:, :3, 3], np.asarray(truth, float)[:, :3, 3]
    good = np.isfinite(cam_to_world).all((1, 2))
    out = np.where(good, np.nan, np.inf)
    if good.sum() >= 3:
        scale, R, t = align_sim3(centres[good], true[good])
        extent = np.linalg.norm(true[:, None] - true[None], axis=-1).max()
        out[good] = np.linalg.norm(scale * centres[good] @ R.T + t - true[good], axis=1) / extent
    return out


def depth_absrel(depth: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:  # all of one shape
    """Mean |depth - truth| / truth after one median scale, where both are positive and the mask allows; NaN when nowhere."""
    ok = np.isfinite(depth) & np.isfinite(truth) & (depth > 0) & (truth > 0)
    ok = ok if mask is None else ok & mask
    if not ok.any():
        return float("nan")
    d, z = depth[ok].astype(float), truth[ok].astype(float)
    return float(np.abs(d * np.median(z / d) / z - 1).mean())


def sample(image: np.ndarray, xy: np.ndarray) -> np.ndarray:  # [H, W], [n, 2] -> [n]
    """Bilinear values at pixel positions (centre of (0, 0) at (0.5, 0.5)); NaN outside the image."""
    height, width = image.shape
    inside = (xy >= 0).all(1) & (xy[:, 0] <= width) & (xy[:, 1] <= height)
    p = np.clip(np.nan_to_num(xy) - 0.5, 0, [width - 1, height - 1])
    x0, y0 = (np.minimum(p[:, k].astype(int), max(n - 2, 0)) for k, n in ((0, width), (1, height)))
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    u, v = p[:, 0] - x0, p[:, 1] - y0
    top, bottom = image[y0, x0] * (1 - u) + image[y0, x1] * u, image[y1, x0] * (1 - u) + image[y1, x1] * u
    return np.where(inside, top * (1 - v) + bottom * v, np.nan)


@dataclass(frozen=True, kw_only=True)
class View:
    """One photo with its truth."""

    photo: Path
    K: np.ndarray  # [3, 3] pixels of the photo, centres at one half
    cam_to_world: np.ndarray  # [4, 4]
    depth: Path | None = None
    mask: Path | None = None
    K_depth: np.ndarray | None = None  # [3, 3] of the depth map where it has a lens of its own


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Photos with known cameras, and the pairs to measure on."""

    name: str
    views: list[View]
    pairs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


def _shifted(K: Any) -> np.ndarray:
    K = np.array(K, float)
    K[:2, 2] += 0.5
    return K


def read_set(folder: Path, pairs: dict[str, Any] | None = None) -> PhotoSet:
    """The set in a folder with cameras.json; views without a camera are left out of nothing: they raise ValueError."""
    records = json.loads((folder / "cameras.json").read_text())
    views = []
    for r in records:
        if r.get("K") is None or r.get("T_world_from_cam") is None:
            raise ValueError(f"{folder / 'cameras.json'}: {r.get('image')} has no K or no T_world_from_cam")
        optional = {k: folder / r[k] if r.get(k) else None for k in ("depth", "mask")}
        K_depth = _shifted(r["K_depth"]) if r.get("K_depth") else None
        cam_to_world = np.array(r["T_world_from_cam"], float)
        views.append(View(photo=folder / r["image"], K=_shifted(r["K"]), cam_to_world=cam_to_world, K_depth=K_depth, **optional))
    lists = {k: [tuple(p) for p in v] for k, v in (pairs or {}).items() if k != "images"}
    return PhotoSet(name=folder.name, views=views, pairs=lists or {"neighbours": [(i, i + 1) for i in range(len(views) - 1)]})


def read_sets(root: str | Path, names: Sequence[str] | None = None) -> list[PhotoSet]:
    """Every set below `root` that has poses, in the order of their names; ValueError when there is none or a name is unknown."""
    root = Path(root)
    listed = json.loads((root / "pairs.json").read_text()) if (root / "pairs.json").exists() else {}
    folders = {p.parent.name: p.parent for p in sorted(root.rglob("cameras.json"))}
    unknown = sorted(set(names or ()) - set(folders))
    if unknown or not folders:
        raise ValueError(f"unknown sets {unknown}; one of: {sorted(folders)}" if unknown else f"no cameras.json below {root}")
    return [read_set(f, listed.get(n)) for n, f in folders.items() if names is None or n in names]


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=float)


def photo_intrinsics(scene: Any) -> np.ndarray:  # -> [V, 3, 3]
    """K of each view in pixels of its photo."""
    return np.stack([_array(c.K).reshape(-1, 3, 3)[0] for c in scene.cameras.for_photos()])


def placed(scene: Any) -> np.ndarray:  # -> [V] bool
    """Which views have a pose."""
    by = getattr(scene.cameras, "placed_by", None)
    finite = np.asarray(np.isfinite(_array(scene.cameras.cam_to_world)).all((1, 2)))
    return finite if by is None or len(by) != len(finite) else finite & np.array([b != "unplaced" for b in by])


def depth_truth(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # -> [n, 2], [n], [n] bool
    """Where each pixel of the view's true depth map lies in its photo (pixels, centres at one half), its depth (0: unknown), and its mask."""
    import cv2

    truth = np.load(view.depth)["depth"].astype(float)  # type: ignore[arg-type]
    height, width = truth.shape
    xy = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    photo = cv2.imread(str(view.photo), cv2.IMREAD_UNCHANGED)
    if photo is None:
        raise ValueError(f"{view.photo} cannot be read")
    if view.K_depth is not None:  # another lens at the same place: same ray, other pixel
        rays = np.c_[xy, np.ones(len(xy))] @ np.linalg.inv(view.K_depth).T
        xy = (rays @ view.K.T)[:, :2]
    else:
        xy = xy * [photo.shape[1] / width, photo.shape[0] / height]
    if view.mask is None:
        return xy, truth.reshape(-1), np.ones(len(xy), bool)
    raw = cv2.imread(str(view.mask), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise ValueError(f"{view.mask} cannot be read")
    raw = raw if raw.ndim == 2 else raw[..., -1]
    mask = sample(raw.astype(float), xy * [raw.shape[1] / photo.shape[1], raw.shape[0] / photo.shape[0]]) > raw.max() / 2
    return xy, truth.reshape(-1), mask


def scene_depth_absrel(scene: Any, index: int, view: View) -> float:
    """AbsRel of one view of a scene, sampled where the truth's pixels fall in the scene's grid."""
    if view.depth is None or scene.depth is None:
        return float("nan")
    xy, truth, mask = depth_truth(view)
    scale, offset = (_array(getattr(scene.images, n))[index] for n in ("grid_scale", "grid_offset"))
    return depth_absrel(sample(_array(scene.depth)[index], xy * scale + offset), truth, mask)


def evaluate_pairs(photos: PhotoSet, reconstruct: Callable[[list[Path]], Any], pairs: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """One row a pair: errors in degrees, relative focal error, depth AbsRel, seconds; a failure is a row with `error`."""
    rows = []
    for pair in pairs:
        views = [photos.views[i] for i in pair]
        row: dict[str, Any] = {"set": photos.name, "pair": list(pair), "rotation": float("inf"), "translation": float("inf")}
        start = time.perf_counter()
        try:
            scene = reconstruct([v.photo for v in views])
            row["seconds"] = time.perf_counter() - start
            K = photo_intrinsics(scene)
            row["focal_error"] = float(np.mean([focal_error(k, v.K) for k, v in zip(K, views, strict=True)]))
            row["depth_absrel"] = [scene_depth_absrel(scene, i, v) for i, v in enumerate(views)]
            if placed(scene).all():
                truth = np.stack([v.cam_to_world for v in views])
                row["rotation"], row["translation"] = pose_errors(_array(scene.cameras.cam_to_world), truth)
        except Exception as e:  # one bad pair must not end an evaluation of hours; the row says what it was
            row["error"] = f"{type(e).__name__}: {e}"
        rows.append(row)
    return rows


def evaluate_views(photos: PhotoSet, reconstruct: Callable[[list[Path]], Any], count: int) -> dict[str, Any]:
    """One row for the first `count` views at once: centre error after Sim(3), share of views placed, focal error, pair AUCs."""
    views = photos.views[:count]
    row: dict[str, Any] = {"set": photos.name, "views": len(views)}
    start = time.perf_counter()
    try:
        scene = reconstruct([v.photo for v in views])
        row["seconds"] = time.perf_counter() - start
        T = np.where(placed(scene)[:, None, None], _array(scene.cameras.cam_to_world), np.nan)
        truth = np.stack([v.cam_to_world for v in views])
        good = np.isfinite(T).all((1, 2))
        errors = camera_centre_errors(T, truth)
        row["placed"] = float(good.mean())
        row["centre_error"] = float(errors[good].mean()) if good.any() else float("nan")
        K = photo_intrinsics(scene)
        row["focal_error"] = float(np.median([focal_error(k, v.K) for k, v in zip(K, views, strict=True)]))
        absrel = [scene_depth_absrel(scene, i, v) for i, v in enumerate(views)]
        row["depth_absrel"] = float(np.nanmean(absrel)) if np.isfinite(absrel).any() else float("nan")
        worst = [max(pose_errors(T[[i, j]], truth[[i, j]])) for i in range(len(views)) for j in range(i)]
        row.update({f"auc{t}": auc(worst, t) for t in THRESHOLDS})
    except Exception as e:  # as above
        row["error"] = f"{type(e).__name__}: {e}"
    return row


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of one set from the rows of its pairs."""
    worst = [max(r["rotation"], r["translation"]) for r in rows]
    finite = lambda key: [x for r in rows for x in np.atleast_1d(r.get(key, np.nan)) if np.isfinite(x)]
    middle = lambda key, f: float(f(finite(key))) if finite(key) else float("nan")
    return {"set": rows[0]["set"] if rows else "", "pairs": len(rows), **{f"auc{t}": auc(worst, t) for t in THRESHOLDS},
            "rotation": float(np.median([r["rotation"] for r in rows])), "translation": float(np.median([r["translation"] for r in rows])),
            "focal_error": middle("focal_error", np.median), "depth_absrel": middle("depth_absrel", np.mean),
            "seconds": middle("seconds", np.median), "failed": sum("error" in r for r in rows)}


def evaluate(root: str | Path, reconstruct: Callable[[list[Path]], Any], *, sets: Sequence[str] | None = None,
             lists: Sequence[str] = ("neighbours",), limit: int | None = 12, views: int = 0,
             progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Tables of figures for every set below `root`: {list: {"sets": [row], "mean": row, "pairs": [row]}}, and "views" when views > 0.

    `reconstruct` makes a Scene of a list of photos; `limit` is the number of pairs taken from each list; `progress` gets one line a set.
    """
    out: dict[str, Any] = {}
    chosen = read_sets(root, sets)
    for name in lists:
        rows, every = [], []
        for photos in chosen:
            pairs = evaluate_pairs(photos, reconstruct, photos.pairs.get(name, [])[:limit])
            if pairs:
                rows.append(summarise(pairs))
                every += pairs
                if progress:
                    progress(f"{name} {photos.name}: AUC@5 {rows[-1]['auc5']:.2f} AUC@30 {rows[-1]['auc30']:.2f}")
        out[name] = {"sets": rows, "mean": _mean(rows), "pairs": every}
    if views:
        rows = []
        for photos in chosen:
            rows.append(evaluate_views(photos, reconstruct, views))
            if progress:
                progress(f"{len(photos.views[:views])} views {photos.name}: centre error {rows[-1].get('centre_error', float('nan')):.3f}")
        out["views"] = {"sets": rows, "mean": _mean(rows)}
    return out


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every number over the sets, NaN left out; focal error as the median over sets."""
    out: dict[str, Any] = {"set": "mean"}
    for key in dict.fromkeys(k for r in rows for k, v in r.items() if isinstance(v, (int, float))):
        values = [r[key] for r in rows if np.isfinite(r.get(key, np.nan))]
        out[key] = float((np.median if key == "focal_error" else np.mean)(values)) if values else float("nan")
    return out
