"""Contains what files hold beside Gaussians and meshes: a cloud of points; how it is taken from a scene, and a scene made from parts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.io.files import fault
from recon.io.options import Kind
from recon.io.parts import SH_DC, Arrays, Parts, Views, far_offset, outliers
from recon.io.textures import vertex_colors
from recon.scene import Cameras, Gaussians, Mesh, Scene, Tensors, Tracks, check_shapes

Content = Gaussians | Mesh | Scene
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PointCloud(Tensors):
    """Points with what is known of each."""

    points: Tensor  # [P, 3] world
    colors: Tensor | None = None  # [P, 3] 0..1 sRGB
    normals: Tensor | None = None  # [P, 3] unit
    confidence: Tensor | None = None  # [P]

    def __post_init__(self) -> None:
        check_shapes(self, {"points": "P 3", "colors": "P 3", "normals": "P 3", "confidence": "P"})

    def __len__(self) -> int:
        return len(self.points)


def no_cameras() -> Cameras:
    """The cameras of a scene whose file holds none: zero views."""
    return Cameras(K=torch.zeros(0, 3, 3), cam_to_world=torch.zeros(0, 4, 4), width=1, height=1)


def scene_of_points(cloud: PointCloud) -> Scene:
    """A scene whose tracks are the points, seen by no view; normals and confidences have no place there."""
    none = torch.zeros(0, dtype=torch.int64)
    tracks = Tracks(points=cloud.points, view=none, point=none, xy=torch.zeros(0, 2), error=torch.zeros(len(cloud)), colors=cloud.colors)
    return Scene(cameras=no_cameras(), tracks=tracks)


def scene_of_parts(parts: Parts) -> Scene:
    """The scene of what a file holds: places in float32 around the scene's offset, cameras in float64."""
    near = {"means": parts.gaussians, "points": parts.points or parts.tracks, "vertices": parts.mesh}
    places = [arrays[name] for name, arrays in near.items() if arrays is not None]
    centres = parts.views.cam_to_world[:, :3, 3] if parts.views is not None else np.zeros((0, 3))
    offset = far_offset([*places, centres])

    def tensors(arrays: Arrays, moved: str) -> dict[str, Tensor]:
        out = {name: values - offset if name == moved and offset.any() else values for name, values in arrays.items()}
        kinds = {name: np.float32 if values.dtype.kind == "f" else values.dtype for name, values in out.items()}
        return {name: torch.from_numpy(np.ascontiguousarray(values, kinds[name])) for name, values in out.items()}

    tracks = None if parts.tracks is None else Tracks(**tensors(parts.tracks, "points"))
    if tracks is None and parts.points is not None:
        tracks = scene_of_points(PointCloud(**tensors(parts.points, "points"))).tracks
    return Scene(
        cameras=no_cameras() if parts.views is None else cameras_of_views(parts.views, offset), tracks=tracks,
        gaussians=None if parts.gaussians is None else Gaussians(**tensors(parts.gaussians, "means")),
        mesh=None if parts.mesh is None else Mesh(**tensors(parts.mesh, "vertices")),
        report={name: value for name, value in parts.report.items() if not isinstance(value, np.ndarray)}, offset=tuple(offset.tolist()),
    )  # fmt: skip


def parts_of_scene(scene: Scene) -> Parts:
    """What a scene holds as arrays, with its offset put back; pointmaps count as points where there are no others."""
    offset = np.array(scene.offset)

    def arrays(part: Any, moved: str) -> Arrays | None:
        if part is None:
            return None
        out = {f.name: getattr(part, f.name).detach().cpu().numpy() for f in fields(part) if isinstance(getattr(part, f.name), Tensor)}
        return {**out, moved: out[moved] + offset} if any(scene.offset) else out

    c, views = scene.cameras, None
    if len(c):
        photos = c.for_photos()
        poses = c.cam_to_world.double().cpu().numpy().copy()
        poses[:, :3, 3] += offset
        K = np.stack([camera.K[0].double().cpu().numpy() for camera in photos])
        lenses = list(c.lenses) or [None] * len(c)
        views = Views(K=K, cam_to_world=poses, width=[p.width for p in photos], height=[p.height for p in photos], lenses=lenses)
    tracks = arrays(scene.tracks, "points")
    if tracks is not None and views is not None and c.grid_scale is not None and c.grid_offset is not None and len(tracks["view"]):
        view = tracks["view"]
        tracks["xy"] = (tracks["xy"] - c.grid_offset.cpu().numpy()[view]) / c.grid_scale.cpu().numpy()[view]
    cloud = points_of(scene) if scene.pointmaps is not None and tracks is None else None
    told = {name: True for name in ("depth", "images") if getattr(scene, name) is not None}
    return Parts(
        gaussians=arrays(scene.gaussians, "means"), mesh=arrays(scene.mesh, "vertices"), tracks=tracks, points=arrays(cloud, "points"), views=views,
        report={**scene.report, **told},
    )  # fmt: skip


def cameras_of_views(views: Views, offset: np.ndarray) -> Cameras:
    """Cameras on one grid that holds all pictures, in the world without the offset."""
    poses = views.cam_to_world.copy()
    poses[:, :3, 3] -= offset
    count = len(views.K)
    return Cameras(
        K=torch.from_numpy(views.K.astype(np.float64)), cam_to_world=torch.from_numpy(poses.astype(np.float64)), width=max(views.width),
        height=max(views.height), photo_width=torch.tensor(views.width), photo_height=torch.tensor(views.height), lenses=tuple(views.lenses),
        grid_scale=torch.ones(count, 2), grid_offset=torch.zeros(count, 2),
    )  # fmt: skip


def dc_colors(gaussians: Gaussians) -> Tensor:  # [N, 3]
    """Colours 0..1 of Gaussians without their dependence on the direction."""
    return (0.5 + SH_DC * gaussians.sh[:, 0]).clamp(0, 1)


def points_of(scene: Scene) -> PointCloud | None:
    """The densest points of a scene: its pointmaps, else its mesh's vertices, the Gaussians' centres or the tracks; None for none."""
    if scene.pointmaps is not None:
        maps = scene.pointmaps
        use = (maps.mask if maps.layer is None else maps.layer) & maps.points.isfinite().all(-1)
        colors = None if scene.images is None else scene.images.rgb[use.to(scene.images.rgb.device)]
        return PointCloud(points=maps.points[use], colors=colors, confidence=maps.confidence[use])
    if scene.mesh is not None:
        return PointCloud(points=scene.mesh.vertices, colors=vertex_colors(scene.mesh), normals=scene.mesh.normals)
    if scene.gaussians is not None:
        return PointCloud(points=scene.gaussians.means, colors=dc_colors(scene.gaussians))
    if scene.tracks is not None:
        return PointCloud(points=scene.tracks.points, colors=scene.tracks.colors)
    return None


def holds(scene: Scene) -> list[Kind]:
    """What a scene has of its own; points can also be made of Gaussians and meshes when they are asked for."""
    kinds: list[Kind] = []
    if scene.gaussians is not None:
        kinds.append("splats")
    if scene.mesh is not None:
        kinds.append("mesh")
    if scene.pointmaps is not None or scene.tracks is not None:
        kinds.append("points")
    return kinds


def take(scene: Scene, kind: Kind, path: Path) -> Any:
    """The Gaussians, mesh, points or whole of a scene on the CPU, without rows that are not finite. Raises FileError where it has none."""
    if kind == "scene":
        return scene.to("cpu")
    content: Any = {"splats": lambda: scene.gaussians, "mesh": lambda: scene.mesh, "points": lambda: points_of(scene)}[kind]()
    if content is None:
        raise fault(path, f"cannot hold this scene: it has no {kind}, only {', '.join(holds(scene)) or 'cameras'}")
    content = content.to("cpu")
    if kind == "splats":
        return finite_gaussians(content, path)
    if kind == "points":
        return finite_points(content, path)
    for name in ("vertices", "uvs", "texture"):
        if not _finite(getattr(content, name)):
            raise fault(path, f"cannot be written: the mesh's {name} are not all finite")
    return content


def _finite(values: Tensor | None) -> bool:
    return values is None or bool(values.isfinite().all())


def valid_rows(gaussians: Gaussians) -> Tensor:  # [N] bool
    """Which Gaussians can be drawn: finite, not negative in scale, with a rotation."""
    g = gaussians
    fine = (g.quats.abs().amax(1) > 1e-12) & (g.scales >= 0).all(1)
    for part in (g.means, g.scales, g.opacities[:, None], g.sh.flatten(1), g.quats):
        if not part.sum().isfinite():  # a sum is finite where all are, and looked at much faster than each
            fine &= part.isfinite().all(1)
    return fine


def finite_gaussians(gaussians: Gaussians, path: Path) -> Gaussians:
    """The Gaussians that can be drawn; a warning counts the others."""
    fine = valid_rows(gaussians)
    if fine.all():
        return gaussians
    log.warning("%s: %d of %d Gaussians are not finite and are left out", path, int((~fine).sum()), len(gaussians))
    return gaussians[fine]


def finite_points(cloud: PointCloud, path: Path) -> PointCloud:
    """The points that are finite; a warning counts the others."""
    fine = cloud.points.isfinite().all(1)
    if fine.all():
        return cloud
    log.warning("%s: %d of %d points are not finite and are left out", path, int((~fine).sum()), len(cloud))
    return cloud._take(fine, len(cloud))


def without_outliers(scene: Scene, path: Path) -> Scene:
    """The scene without the Gaussians and bare points that lie far from everything else; a warning counts them."""
    parts: dict[str, Any] = {}
    if scene.gaussians is not None:
        near = _near(scene.gaussians.means, path, "Gaussians")
        parts["gaussians"] = scene.gaussians[near]
    if scene.tracks is not None and not len(scene.tracks.view):
        near = _near(scene.tracks.points, path, "points")
        colors = None if scene.tracks.colors is None else scene.tracks.colors[near]
        parts["tracks"] = replace(scene.tracks, points=scene.tracks.points[near], error=scene.tracks.error[near], colors=colors)
    return replace(scene, **parts) if parts else scene


def _near(places: Tensor, path: Path, what: str) -> Tensor:  # [n, 3] -> [n] bool
    near = torch.from_numpy(~outliers(places.double().numpy()))
    if not near.all():
        log.warning("%s: %d of %d %s are outliers and are left out", path, int((~near).sum()), len(near), what)
    return near


def check_loaded(scene: Scene, path: Path, repair: bool) -> Scene:
    """The scene of a file, its values checked: without what is not finite if `repair`, otherwise FileError tells of it."""
    parts: dict[str, Any] = {}
    if scene.gaussians is not None:
        fine = valid_rows(scene.gaussians)
        _tell(path, fine, "Gaussians", repair)
        parts["gaussians"] = scene.gaussians if fine.all() else scene.gaussians[fine]
    if scene.mesh is not None and not (_finite(scene.mesh.vertices) and _finite(scene.mesh.uvs)):
        raise fault(path, "has vertices or uvs that are not finite")
    if scene.tracks is not None and not len(scene.tracks.view):
        fine = scene.tracks.points.isfinite().all(1)
        _tell(path, fine, "points", repair)
        if not fine.all():
            colors = None if scene.tracks.colors is None else scene.tracks.colors[fine]
            parts["tracks"] = replace(scene.tracks, points=scene.tracks.points[fine], error=scene.tracks.error[fine], colors=colors)
    return replace(scene, **parts) if parts else scene


def _tell(path: Path, fine: Tensor, what: str, repair: bool) -> None:
    bad = int((~fine).sum())
    if bad and not repair:
        first = int((~fine).nonzero()[0])
        raise fault(path, f"{bad} of {len(fine)} {what} are not finite or cannot be drawn, the first is number {first} (repair=True leaves them out)")
    if bad:
        log.warning("%s: %d of %d %s are left out", path, bad, len(fine), what)


def sh_within(gaussians: Gaussians, degree: int, path: Path) -> Gaussians:
    """The Gaussians with spherical harmonics of at most `degree`; a warning tells of a cut."""
    if degree not in range(5):
        raise ReconError(f"sh_degree is {degree}, wanted 0 to 4")
    bases = (degree + 1) ** 2
    if gaussians.sh.shape[1] <= bases:
        return gaussians
    log.warning("%s: spherical harmonics are cut to degree %d", path, degree)
    return replace(gaussians, sh=gaussians.sh[:, :bases])


def pad_sh(gaussians: Gaussians, degree: int) -> Gaussians:
    """The same Gaussians with spherical harmonics of at least `degree`, the new ones zero."""
    missing = (degree + 1) ** 2 - gaussians.sh.shape[1]
    return gaussians if missing <= 0 else replace(gaussians, sh=torch.nn.functional.pad(gaussians.sh, (0, 0, 0, missing)))
