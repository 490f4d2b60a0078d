"""The worlds of files: how Gaussians, meshes, points and cameras move from OpenCV axes (x right, y down, z forward) into others and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from recon.errors import ReconError, shown
from recon.geometry import matrices_to_quats
from recon.io.content import PointCloud
from recon.io.options import WORLDS, Axes
from recon.scene import Gaussians, Mesh, Scene
from recon.spherical_harmonics import basis, degree_of

if TYPE_CHECKING:
    from recon.scene import Cameras, Tracks

def world_matrix(axes: Axes) -> Tensor:  # [3, 3]
    """M with x_file = M x_opencv; orthogonal, a reflection for left-handed worlds. Raises ReconError for an unknown name."""
    if axes not in WORLDS:
        raise ReconError(f"unknown axes {shown(axes)}; one of: {', '.join(get_args(Axes))}")
    return torch.tensor(WORLDS[axes], dtype=torch.float64)


def sh_matrix(M: Tensor, degree: int) -> Tensor:  # [3, 3] -> [K, K]
    """D with sh' = D sh for a world turned (or mirrored) by the orthogonal M: the new functions at M d equal the old ones at d.

    Least squares over well-spread directions, one band at a time, so exact to float64's precision.
    """
    index = torch.arange(200, dtype=torch.float64) + 0.5
    z, angle = 1 - index / 100, index * (torch.pi * (1 + 5**0.5))  # a Fibonacci sphere
    ring = (1 - z * z).sqrt()
    directions = torch.stack([ring * angle.cos(), ring * angle.sin(), z], 1)
    new, old = basis(directions @ M.double().T, degree), basis(directions, degree)
    D = torch.zeros((degree + 1) ** 2, (degree + 1) ** 2, dtype=torch.float64)
    for band in range(degree + 1):
        part = slice(band**2, (band + 1) ** 2)
        D[part, part] = torch.linalg.lstsq(new[:, part], old[:, part]).solution
    return torch.where(D.abs() < 1e-13, 0, D)


def move_gaussians(gaussians: Gaussians, M: Tensor, scale: float = 1.0) -> Gaussians:
    """Gaussians of the world x' = scale * M x; M [3, 3] orthogonal."""
    g = gaussians
    proper = M if torch.linalg.det(M) > 0 else -M  # a Gaussian is symmetric about its centre, so -M turns it just as M does
    a = matrices_to_quats(proper.double()).to(g.quats)
    w, v = g.quats[:, :1], g.quats[:, 1:]
    quats = torch.cat([a[0] * w - v @ a[1:, None], a[0] * v + w * a[1:] + torch.linalg.cross(a[1:].expand_as(v), v)], 1)
    D = sh_matrix(M, degree_of(g.sh.shape[1])).to(g.sh)
    diagonal = D.diagonal()
    sh = g.sh * diagonal[:, None] if torch.equal(D, diagonal.diag()) else torch.einsum("kl,nlc->nkc", D, g.sh)
    return replace(g, means=_turn(g.means, M, scale), quats=quats, scales=g.scales * scale, sh=sh)


def _turn(points: Tensor, M: Tensor, scale: float = 1.0) -> Tensor:
    """Points moved by scale * M; exact where M only permutes and flips axes."""
    M = M.to(points)
    if torch.equal(M.abs().sum(1), torch.ones(3).to(M)) and ((M == 0) | (M.abs() == 1)).all():
        column = M.abs().argmax(1)
        return points[..., column] * (M.sum(1) * scale)
    return points @ M.T * scale


def move_mesh(mesh: Mesh, M: Tensor, scale: float = 1.0) -> Mesh:
    """The mesh of the world x' = scale * M x; faces stay counter-clockwise under a mirror."""
    faces = mesh.faces if torch.linalg.det(M) > 0 else mesh.faces.flip(1)
    normals = None if mesh.normals is None else _turn(mesh.normals, M)
    return replace(mesh, vertices=_turn(mesh.vertices, M, scale), faces=faces, normals=normals)


def move_cameras(cameras: Cameras, M: Tensor, scale: float = 1.0) -> Cameras:
    """The cameras of the world x' = scale * M x, M a rotation; their own axes stay OpenCV's. Raises ReconError for a mirror."""
    if torch.linalg.det(M) < 0:
        raise ReconError("cameras cannot be written in left-handed axes; wanted opencv, y-up or z-up")
    moved = cameras.cam_to_world.clone()
    moved[:, :3, :3] = M.to(moved) @ moved[:, :3, :3]
    moved[:, :3, 3] = _turn(cameras.cam_to_world[:, :3, 3], M, scale)
    return replace(cameras, cam_to_world=moved)


def move(content: Any, M: Tensor, scale: float = 1.0) -> Any:
    """Gaussians, a mesh, points or a scene in the world x' = scale * M x; the argument stays as it was."""
    if torch.equal(M.double(), torch.eye(3, dtype=torch.float64)) and scale == 1.0:
        return content
    if isinstance(content, Gaussians):
        return move_gaussians(content, M, scale)
    if isinstance(content, Mesh):
        return move_mesh(content, M, scale)
    if isinstance(content, PointCloud):
        normals = None if content.normals is None else _turn(content.normals, M)
        return replace(content, points=_turn(content.points, M, scale), normals=normals)
    return _move_scene(content, M, scale)


def _move_scene(scene: Scene, M: Tensor, scale: float) -> Scene:
    parts: dict[str, Any] = {"cameras": move_cameras(scene.cameras, M, scale) if len(scene.cameras) else scene.cameras}
    if scene.gaussians is not None:
        parts["gaussians"] = move_gaussians(scene.gaussians, M, scale)
    if scene.mesh is not None:
        parts["mesh"] = move_mesh(scene.mesh, M, scale)
    if scene.tracks is not None:
        tracks: Tracks = scene.tracks
        parts["tracks"] = replace(tracks, points=_turn(tracks.points, M, scale))
    if scene.pointmaps is not None:
        parts["pointmaps"] = replace(scene.pointmaps, points=_turn(scene.pointmaps.points, M, scale))
    if any(scene.offset):
        parts["offset"] = tuple((scale * (M.double() @ torch.tensor(scene.offset, dtype=torch.float64))).tolist())
    if scene.depth is not None:
        parts["depth"] = scene.depth * scale
    return replace(scene, **parts)


