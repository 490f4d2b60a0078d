"""Contains what `inspect` finds in arrays: facts of Gaussians, meshes, points, tracks and views, and their faults as sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recon.io.packing import COARSE_SHARE, finer_than
from recon.io.parts import SH_DC, Arrays, Parts, Views, outliers
from recon.lenses import Lens, distort

MANY = 5_000_000  # Gaussians that browsers still show
HIGH_ERROR_PX = 4.0  # median reprojection error of tracks
MOST_OBSERVATIONS = 1_000_000


@dataclass
class Report:
    """Sentences on what is wrong, and what was looked at."""

    problems: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is no fault of the file


def valid_splats(g: Arrays) -> np.ndarray:  # [N] bool
    """Which Gaussians can be drawn: finite, not negative in scale, with a rotation."""
    with np.errstate(invalid="ignore"):
        fine = np.isfinite(g["means"]).all(1) & np.isfinite(g["scales"]).all(1) & (g["scales"] >= 0).all(1) & np.isfinite(g["opacities"])
        return fine & np.isfinite(g["sh"]).all((1, 2)) & np.isfinite(g["quats"]).all(1) & (np.abs(g["quats"]).max(1, initial=0) > 1e-12)


def _told(report: Report, fine: np.ndarray, what: str) -> None:
    report.checked.append("values that are not finite")
    if not fine.all():
        first = int(np.argmin(fine))
        report.problems.append(f"{int((~fine).sum())} of {len(fine)} {what} are not finite or cannot be drawn, the first is number {first}")


def _bounds(places: np.ndarray) -> dict[str, Any]:
    return {"min": places.min(0).tolist(), "max": places.max(0).tolist()} if len(places) else {"min": None, "max": None}


def _range(values: np.ndarray) -> list[float] | None:
    """Smallest, middle and largest."""
    return [float(values.min()), float(np.median(values)), float(values.max())] if values.size else None


def _spread(places: np.ndarray, what: str, report: Report) -> float:
    """The extent that 95 % have, and sentences on outliers and on places too far away for float32."""
    report.checked += ["outliers", "places against float32"]
    if len(places) < 2:
        return 0.0
    low, high = np.percentile(places, (2.5, 97.5), axis=0)
    extent = float((high - low).max())
    middle = np.median(places, 0)
    out = int(outliers(places).sum())
    if out:
        furthest = float(np.abs(places - middle).max())
        report.problems.append(f"{out} of {len(places)} {what} are outliers: 95 % span {extent:.3g} units, the furthest lies {furthest:.3g} away")
    step = float(np.spacing(np.float32(np.abs(middle).max())))
    if extent > 0 and step > 1e-4 * extent:
        where = f"the {what} lie around {np.round(middle).tolist()}"
        if places.dtype.itemsize > 4:
            report.notes.append(f"{where}, which float32 has no digits for: an offset is kept, and formats without digits leave it out")
        else:
            report.problems.append(f"{where}, and float32 has rounded them to steps of {step:.3g} units")
    return extent


def splat_facts(parts: Parts, report: Report) -> dict[str, Any]:
    """Counts and ranges of what can be drawn, and what viewers stumble over."""
    g = parts.gaussians
    assert g is not None
    fine = valid_splats(g)
    _told(report, fine, "Gaussians")
    degree = math.isqrt(g["sh"].shape[1]) - 1
    out: dict[str, Any] = {"count": len(fine), "sh_degree": degree}
    problems = report.problems
    g = {name: values[fine] for name, values in g.items()}
    out |= {**_bounds(g["means"]), "scales": _range(g["scales"]), "opacities": _range(g["opacities"]), "colors": _range(0.5 + SH_DC * g["sh"][:, 0])}
    if parts.report.get("surfels"):
        out["flat"] = True
    if not len(g["means"]):
        problems.append("no Gaussian can be drawn")
        return out
    count = len(g["means"])
    report.checked += ["harmonics", "number of Gaussians", "opacities stored without their logit", "scales"]
    if degree > 3:
        problems.append("spherical harmonics of degree 4 are read by few programs (sh_degree=3 cuts them)")
    if count > MANY:
        problems.append(f"{count} Gaussians are more than browsers show ({MANY})")
    low, high = float(g["opacities"].min()), float(g["opacities"].max())
    if count > 10 and low >= 0.4999 and high <= 0.7311:
        problems.append("all opacities lie in 0.5 .. 0.731: they were stored without their logit, so everything looks foggy")
    extent = _spread(g["means"], "Gaussians", report)
    huge = int((g["scales"].max(1) > max(extent, 1e-6)).sum())
    if count > 10 and huge > 0.01 * count:
        problems.append(f"{huge} Gaussians are larger than the scene ({extent:.3g} units): scales may lack their logarithm, and viewers become slow")
    _steps(parts, g, fine, report)
    return out


def _steps(parts: Parts, g: Arrays, fine: np.ndarray, report: Report) -> None:
    steps = parts.report.get("position_steps", parts.report.get("position_step"))
    if steps is None:
        return
    report.checked.append("steps of positions against the Gaussians' sizes")
    steps = steps[fine] if isinstance(steps, np.ndarray) else float(steps)
    finer = finer_than(steps, g["scales"])
    if finer > COARSE_SHARE * len(g["means"]):
        most = float(np.max(steps))
        report.problems.append(f"{finer} Gaussians are finer than the steps of their positions (up to {most:.3g} units): holes and stripes")


def mesh_facts(mesh: Arrays, report: Report) -> dict[str, Any]:
    vertices, faces = mesh["vertices"], mesh["faces"]
    fine = np.all(np.isfinite(vertices), axis=1)
    _told(report, fine, "vertices")
    report.checked += ["faces without area", "materials and pictures"]
    if not len(faces):
        report.problems.append("the mesh has no faces")
    elif fine.all():
        a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
        flat = int((np.linalg.norm(np.cross(b - a, c - a), axis=1) == 0).sum())
        if flat:
            report.problems.append(f"{flat} of {len(faces)} faces have no area")
    _spread(vertices[fine], "vertices", report)
    colors = "vertex colours" if mesh.get("colors") is not None else "none"
    texture = mesh.get("texture")
    if texture is not None:
        colors = f"texture of {texture.shape[1]} x {texture.shape[0]} pixels" + (" and vertex colours" if mesh.get("colors") is not None else "")
    counts = {"vertices": len(vertices), "faces": len(faces)}
    return {**counts, "colors": colors, "normals": mesh.get("normals") is not None, **_bounds(vertices[fine])}


def point_facts(points: Arrays, report: Report) -> dict[str, Any]:
    places = points["points"]
    fine: np.ndarray = np.all(np.isfinite(places), axis=1)
    _told(report, fine, "points")
    _spread(places[fine], "points", report)
    return {"count": len(places), "observations": 0, **_bounds(places[fine])}


def track_facts(parts: Parts, report: Report) -> dict[str, Any]:
    """The points of tracks, and how far from where they were seen they fall through the cameras of the file."""
    assert parts.tracks is not None
    out = point_facts({"points": parts.tracks["points"]}, report) | {"observations": len(parts.tracks["view"])}
    if parts.views is None or not len(parts.tracks["view"]):
        return out
    error = reprojection_errors(parts.views, parts.tracks)
    report.checked.append("reprojection of tracks")
    seen = np.isfinite(error)
    if seen.any():
        out["reprojection_error_px"] = _range(error[seen])
        middle = float(np.median(error[seen]))
        if middle > HIGH_ERROR_PX:
            report.problems.append(f"points fall {middle:.1f} px (median) from where they were seen: poses and tracks do not fit")
    behind = int((~seen).sum())
    if behind > 0.01 * len(error):
        report.problems.append(f"{behind} of {len(error)} observations are of points that their camera cannot see")
    return out


def reprojection_errors(views: Views, tracks: Arrays) -> np.ndarray:  # [O]
    """Pixels between where points fall and where they were seen; NaN where a camera cannot see its point. Of at most a million observations."""
    some = slice(0, MOST_OBSERVATIONS)
    view, point, xy = tracks["view"][some], tracks["point"][some], tracks["xy"][some]
    out = np.full(len(view), np.nan)
    for v in np.unique(view):
        rows = view == v
        T, K = views.cam_to_world[v], views.K[v]
        local = (tracks["points"][point[rows]].astype(np.float64) - T[:3, 3]) @ T[:3, :3]
        lens = views.lenses[v] or Lens(model="PINHOLE")
        pixels = distort(lens.model, lens.params, local) * K[[0, 1], [0, 1]] + K[:2, 2]
        out[rows] = np.linalg.norm(pixels - xy[rows], axis=1)
    return out


def view_facts(views: Views, report: Report) -> dict[str, Any]:
    placed: np.ndarray = np.isfinite(views.cam_to_world.reshape(len(views.K), -1).sum(1))
    report.checked.append("places of views")
    if not placed.all():
        report.problems.append(f"{int((~placed).sum())} of {len(placed)} views have no place")
    focal = views.K[:, 0, 0]
    lenses = sorted({"PINHOLE" if lens is None else lens.model for lens in views.lenses})
    out = {"count": len(placed), "width": max(views.width), "height": max(views.height), "lenses": ", ".join(lenses)}
    return {**out, "focal_px": _range(focal[np.isfinite(focal)]), "centres": _bounds(views.cam_to_world[placed, :3, 3])}
