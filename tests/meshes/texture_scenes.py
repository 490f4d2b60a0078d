"""Scenes for the tests and figures of textures: meshes whose colour is a function of the place, and exact photos of them."""

from __future__ import annotations

import numpy as np
import torch

from recon.io.gltf import to_linear, to_srgb
from recon.meshes.texture.choice import adjacency
from recon.meshes.texture.drawing import draw_mesh
from recon.meshes.texture.raster import draw_faces, project_points, sample, shade
from recon.meshes.texture.subdivision import split_large
from recon.scene import Cameras, Images, Mesh, Rendering, Scene

LATTICE, SAMPLES = 32, 3


def noise(places: np.ndarray, wavelength: float, octaves: int = 5, seed: int = 3) -> np.ndarray:  # [n, 3] -> [n, 3]
    """Smooth colours 0.1..0.9 of places: random values on lattices, each octave of half the wavelength and 0.6 times the contrast."""
    random = np.random.default_rng(seed)
    out, total = np.zeros((len(places), 3)), 0.0
    for octave in range(octaves):
        lattice = random.random((LATTICE, LATTICE, LATTICE, 3)) - 0.5
        at = places / (wavelength * 0.5**octave)
        cell = np.floor(at).astype(int)
        t = at - cell
        t = t * t * (3 - 2 * t)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(np.array(corner) == 1, t, 1 - t), 1)
            out += 0.6**octave * weight[:, None] * lattice[tuple(((cell + corner) % LATTICE).T)]
        total += 0.6**octave
    return (0.5 + 1.6 * out / total).clip(0.1, 0.9)


def sphere(subdivisions: int = 5, bumps: float = 0.0) -> Mesh:
    """A sphere of radius 1; `bumps`: waves on it of this height."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    p = np.asarray(ball.vertices)
    p = p * (1 + bumps * np.sin(5 * p[:, :1]) * np.sin(4 * p[:, 1:2] + 1) * np.sin(6 * p[:, 2:] + 2))
    return Mesh(vertices=p, faces=np.asarray(ball.faces))


def room(half: tuple[float, float, float] = (2.0, 1.25, 1.6)) -> Mesh:
    """A box of 12 triangles seen from inside."""
    import trimesh

    box = trimesh.creation.box(extents=2 * np.array(half))
    return Mesh(vertices=np.asarray(box.vertices), faces=np.asarray(box.faces)[:, ::-1].copy())


def cameras_at(eyes: np.ndarray, targets: np.ndarray, width: int, height: int, focal: float) -> Cameras:
    """Cameras at eyes [V, 3] that look at targets [V, 3]; y of the world is down."""
    T = np.tile(np.eye(4), (len(eyes), 1, 1))
    for n, (eye, target) in enumerate(zip(eyes, targets, strict=True)):
        forward = (target - eye) / np.linalg.norm(target - eye)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        T[n, :3, :3], T[n, :3, 3] = np.stack([right, np.cross(forward, right), forward], 1), eye
    K = np.tile(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), (len(eyes), 1, 1))
    return Cameras(K=K, cam_to_world=T, width=width, height=height)


def around(views: int, side: int, distance: float = 3.2, height: float = 0.5) -> Cameras:
    """Cameras on a ring around the origin, by turns a little above and below it."""
    angle = np.arange(views) * 2 * np.pi / views
    eyes = np.stack([np.sin(angle) * distance, height * (-1.0) ** np.arange(views), -np.cos(angle) * distance], 1)
    return cameras_at(eyes, np.zeros_like(eyes), side, side, 1.35 * side)


def inside(views: int, side: int) -> Cameras:
    """Cameras in the middle of a room that look around, by turns up and down."""
    angle = np.arange(views) * 2 * np.pi / views
    eyes = np.stack([-0.3 * np.sin(angle), 0.0 * angle, 0.3 * np.cos(angle)], 1)
    targets = eyes + np.stack([np.sin(angle), 0.45 * (-1.0) ** np.arange(views), -np.cos(angle)], 1)
    return cameras_at(eyes, targets, side, side, 0.5 * side)


def slanted(stops: list[float], side: int, slant: float = 0.8) -> np.ndarray:  # [V, side, side]
    """Exposures in stops of photos that also grow brighter from their left to their right, which no factor for a photo makes good."""
    at = (np.arange(side) + 0.5) / side - 0.5
    return np.broadcast_to(np.array(stops)[:, None, None] + slant * at, (len(stops), side, side))


def photographed(mesh: Mesh, cameras: Cameras, *, wavelength: float = 0.3, octaves: int = 5, stops: np.ndarray | None = None) -> Scene:
    """The scene with exact photos (8 bits), masks and depth of the mesh coloured by `noise`; `stops` [V, H, W] of exposure are added."""
    points, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
    points, faces, _ = split_large(points, faces, cameras.cam_to_world[:, :3, 3].double().numpy(), most=0.2)  # else what reaches behind is missed
    fine = (cameras.height * SAMPLES, cameras.width * SAMPLES)
    pictures, masks, depths = [], [], []
    for v in range(len(cameras)):
        K = np.diag([SAMPLES, SAMPLES, 1.0]) @ cameras.K[v].double().numpy()
        xyz = project_points(points, K, np.linalg.inv(cameras.cam_to_world[v].double().numpy()))
        depth, shown, places = np.full(fine, np.inf), np.full(fine, -1, np.int64), np.zeros((*fine, 3))
        draw_faces(xyz, faces, depth, shown)
        shade(xyz, faces, shown, points, np.zeros((1, 1, 3), np.float32), places)
        colors = np.zeros((*fine, 3))
        colors[shown >= 0] = to_linear(noise(places[shown >= 0], wavelength, octaves))
        mean = lambda x: x.reshape(cameras.height, SAMPLES, cameras.width, SAMPLES, -1).mean((1, 3))
        exposed = mean(colors) * 2.0 ** (np.zeros((1, 1, 1)) if stops is None else stops[v][..., None])
        pictures.append(np.rint(to_srgb(exposed).clip(0, 1) * 255) / 255)
        masks.append(mean(shown >= 0)[..., 0] > 0.99)
        middle = depth[1::SAMPLES, 1::SAMPLES]
        depths.append(np.where(np.isfinite(middle), middle, 0))
    images = Images(rgb=torch.from_numpy(np.stack(pictures)).float(), mask=torch.from_numpy(np.stack(masks)))
    return Scene(cameras=cameras, images=images, depth=torch.from_numpy(np.stack(depths)).float())


def psnr(scene: Scene, drawn: Rendering) -> list[float]:
    """dB of each picture where both the photo's mask and the drawn mesh are whole."""
    assert scene.images is not None
    out = []
    for photo, mask, picture, alpha in zip(scene.images.rgb, scene.images.mask, drawn.color, drawn.alpha, strict=True):
        use = mask & (alpha > 0.99)
        out.append(float(-10 * torch.log10((photo[use] - picture[use]).square().mean())))
    return out


def seam_steps(mesh: Mesh, distance: float) -> tuple[float, float]:
    """Mean step of colour over edges between patches and over edges inside them, between places `distance` texels from the edge on either side."""
    assert mesh.uvs is not None and mesh.texture is not None
    same = np.unique(mesh.vertices.numpy(), axis=0, return_inverse=True)[1].reshape(-1)
    faces = mesh.faces.numpy()
    uv = mesh.uvs.double().numpy() * [mesh.texture.shape[1], mesh.texture.shape[0]]
    pairs = adjacency(same[faces])
    first, second = same[faces[pairs[:, 0]]], same[faces[pairs[:, 1]]]
    shared = (first[:, :, None] == second[:, None]).any(2)
    fine = shared.sum(1) == 2
    pairs, first, second, shared = pairs[fine], first[fine], second[fine], shared[fine]
    ends = first[shared].reshape(-1, 2)
    colors, corners = [], []
    for side, of in ((pairs[:, 0], first), (pairs[:, 1], second)):
        at = [faces[side][np.arange(len(side)), (of == ends[:, e : e + 1]).argmax(1)] for e in range(2)]
        apex = faces[side][np.arange(len(side)), (~(of[:, :, None] == ends[:, None]).any(2)).argmax(1)]
        middle, along = (uv[at[0]] + uv[at[1]]) / 2, uv[at[1]] - uv[at[0]]
        normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        normal *= np.sign(((uv[apex] - middle) * normal).sum(1, keepdims=True))
        colors.append(sample(mesh.texture.numpy(), middle + distance * normal))
        corners.append(np.stack(at, 1))
    step = np.abs(colors[0] - colors[1]).mean(1)
    border = (corners[0] != corners[1]).any(1)
    return float(step[border].mean()), float(step[~border].mean())


__all__ = ["around", "cameras_at", "draw_mesh", "inside", "noise", "photographed", "psnr", "room", "seam_steps", "slanted", "sphere"]
