"""Contains which way is up: from how the cameras were held, made exact by the planes of the scene (floors, tables, walls)."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.io.axes import move_mesh
from recon.io.content import no_cameras
from recon.meshes.depth_views import placed_rows
from recon.meshes.faces import face_crosses
from recon.render.camera_paths import WORLD_UP
from recon.scene import Mesh, Scene

NEAR_DEGREES = (20.0, 10.0, 5.0, 3.0)  # how far a plane may be from level or plumb to tell something, round by round
LEAST_SHARE = 0.1  # of the area must be level or plumb in the end, beyond what is so by chance
TILT_DEGREES = 30.0  # people hold cameras no further from level than so, on average


def find_up(scene: Scene, mesh: Mesh) -> Tensor:  # -> [3]
    """The unit direction in the scene's world that is up: the mean of the placed cameras' own, and near it the one that the mesh's planes agree on.

    Without placed cameras, or where they have no common up (all round an axis), -y of the world.
    """
    up = cameras_up(scene)
    return torch.tensor(WORLD_UP) if up is None else refined(up, mesh)


def cameras_up(scene: Scene) -> Tensor | None:  # [3]
    """The direction that is level with no camera's sideways axis, on the side of their own up; their mean up where all look one way."""
    T = scene.cameras.cam_to_world[placed_rows(scene)].double().cpu()
    if not len(T):
        return None
    mean = -T[:, :3, 1].mean(0)
    if float(mean.norm()) < 0.1:
        return None
    mean = mean / mean.norm()
    sideways = T[:, :3, 0]  # people roll cameras little: up is square to all of these
    value, vector = torch.linalg.eigh(sideways.T @ sideways / len(T))
    square = vector[:, 0] * torch.sign(vector[:, 0] @ mean)
    sure = float(value[1]) > 0.1 and float(value[0]) < 0.05 and float(square @ mean) > torch.cos(torch.deg2rad(torch.tensor(60.0)))
    return (square if sure else mean).float()


def refined(up: Tensor, mesh: Mesh) -> Tensor:  # [3] -> [3]
    """The direction near `up` that most of the mesh's area is level with or plumb to; `up` where too little is."""
    cross = face_crosses(mesh).double()
    area = cross.norm(dim=1)
    normals, area = cross[area > 0] / area[area > 0, None], area[area > 0]
    found = up.double()
    share = 0.0
    for degrees in NEAR_DEGREES:
        reach = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
        along = (normals @ found).abs()
        level, plumb = along > torch.cos(reach), along < torch.sin(reach)
        share = float((area * (level | plumb)).sum() / area.sum())
        by = lambda rows: (normals[rows] * area[rows, None]).T @ normals[rows]
        # plumb planes want n . up = 0, level ones n . up = 1
        _, vector = torch.linalg.eigh(by(plumb) - by(level))
        found = vector[:, 0] * torch.sign(vector[:, 0] @ up.double())
    last = torch.deg2rad(torch.tensor(NEAR_DEGREES[-1]))
    chance = float(1 - torch.cos(last) + torch.sin(last))
    tilt = float(torch.rad2deg(torch.acos((found @ up.double()).clamp(-1, 1))))
    return found.float() if share > chance + LEAST_SHARE and tilt < TILT_DEGREES else up


def rotation_to(up: Tensor, target: Tensor) -> Tensor:  # [3], [3] -> [3, 3]
    """The smallest rotation that turns one direction into the other. Raises ReconError for a direction without length."""
    up, target = up.double(), target.double()
    if not (bool(up.isfinite().all()) and float(up.norm()) > 1e-9):
        raise ReconError(f"up is {up.tolist()}, wanted a direction")
    up, target = up / up.norm(), target / target.norm()
    cosine = float(up @ target)
    if cosine < -0.999999:  # half a turn about any square axis
        axis = torch.linalg.cross(up, torch.tensor([1.0, 0, 0] if abs(float(up[0])) < 0.9 else [0, 1.0, 0], dtype=torch.float64))
        axis = axis / axis.norm()
        return 2 * torch.outer(axis, axis) - torch.eye(3, dtype=torch.float64)
    axis = torch.linalg.cross(up, target)
    zero = torch.zeros((), dtype=torch.float64)
    skew = torch.stack([zero, -axis[2], axis[1], axis[2], zero, -axis[0], -axis[1], axis[0], zero]).reshape(3, 3)
    return torch.eye(3, dtype=torch.float64) + skew + skew @ skew / (1 + cosine)


def upright(mesh: Mesh, up: Tensor) -> tuple[Mesh, Tensor]:  # up [3] -> the mesh, [3, 3]
    """The mesh turned so that `up` is up in every file (-y of the world), and the rotation that did it."""
    R = rotation_to(up, torch.tensor(WORLD_UP))
    return move_mesh(mesh, R), R


def mesh_alone(scene: Scene, mesh: Mesh, up: Tensor | None) -> Scene:  # up [3]
    """A scene of nothing but the mesh, turned so that `up` of the scene's world is up in every file; as it stands for None."""
    offset = torch.tensor(scene.offset, dtype=torch.float64)
    if up is not None:
        mesh, R = upright(mesh, up)
        offset = R @ offset
    x, y, z = offset.tolist()
    return Scene(cameras=no_cameras(), mesh=mesh, metric=scene.metric, offset=(x, y, z))
