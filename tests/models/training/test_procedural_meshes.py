"""Procedural meshes: well formed, reproducible, and rendered where their triangles are."""

from collections import Counter

import numpy as np
import pytest
import torch

from recon.models.training.assets import MESH_KEYS, crossed_boards, join, load_assets
from recon.models.training.generator import ALL_INSTANCES, SceneTables, render_tables
from recon.models.training.mesh_parts import Part, merge, slab, tube
from recon.models.training.objects import INSTANCE_COLUMNS, PRIMITIVE_COLUMNS, PRIMITIVES
from recon.models.training.places import LIGHT_COLUMNS
from recon.models.training.procedural_meshes import LEAF_TEXTURES, MAKERS, Role, procedural_pack
from recon.models.training.viewpoints import look_at

EACH = 12


@pytest.fixture(scope="module")
def pack():
    return procedural_pack(0, EACH)


def test_meshes_are_well_formed(pack) -> None:
    meshes, roles = pack
    assert set(meshes) == set(MESH_KEYS) and len(roles) == EACH * len(MAKERS) and set(roles) == set(Role)
    assert np.isfinite(meshes["verts"]).all() and np.isfinite(meshes["uvs"]).all()
    for (v0, v1), (f0, f1), (m0, m1) in zip(meshes["mesh_v"], meshes["mesh_f"], meshes["mesh_m"], strict=True):
        vertices, faces = meshes["verts"][v0:v1], meshes["faces"][f0:f1]
        assert np.allclose(vertices.min(0), -vertices.max(0)) and np.isclose(np.ptp(vertices, 0).max(), 1)
        assert 12 <= len(faces) <= 1500 and faces.min() >= 0 and faces.max() < len(vertices) < 65536
        area = np.linalg.norm(np.cross(*(vertices[faces[:, k]] - vertices[faces[:, 0]] for k in (1, 2))), axis=1)
        assert (area > 1e-8).mean() > 0.98
        assert meshes["face_mat"][f0:f1].max() < m1 - m0
    assert meshes["mats"][:, 0].min() == -1 and meshes["mats"][:, 0].max() < LEAF_TEXTURES
    assert meshes["mats"][:, 1:].min() >= 0 and meshes["mats"][:, 1:].max() <= 255


def test_one_seed_one_catalogue(pack) -> None:
    again, other = procedural_pack(0, EACH)[0], procedural_pack(1, EACH)[0]
    assert all(np.array_equal(pack[0][key], again[key]) for key in MESH_KEYS)
    assert not np.array_equal(pack[0]["verts"][:100], other["verts"][:100])


def test_tubes_and_slabs_are_closed() -> None:
    """Every edge belongs to two triangles, and the volume is what it should be."""
    bent = tube(np.array([[0, 0, 0], [0, 1, 0], [0.5, 2, 0.0], [2, 2, 1]]), 0.1, sides=5)
    assert edge_counts(bent) == {2}
    assert edge_counts(slab([0, 0, 0], [1, 2, 3])) == {2}
    straight = tube(np.linspace([0, 0, 0], [3, 0, 4], 4), 0.1, sides=64)
    length, radius = 5.0, np.linalg.norm(straight.vertices[:64] - straight.vertices[:64].mean(0), axis=1)
    assert np.allclose(radius, 0.1) and np.isclose(np.linalg.norm(straight.vertices[-1] - straight.vertices[63]), length)
    assert len(merge([bent, bent]).faces) == 2 * len(bent.faces) and merge([bent, bent]).faces.max() == 2 * len(bent.vertices) - 1


def edge_counts(part: Part) -> set[int]:
    """How many triangles share an edge, vertices at one place taken for one."""
    _, same = np.unique(part.vertices.round(9), axis=0, return_inverse=True)
    faces = same.reshape(-1)[part.faces]
    return set(Counter(tuple(sorted((int(f[k]), int(f[(k + 1) % 3])))) for f in faces for k in range(3)).values())


def test_joined_packs_keep_their_meshes(pack) -> None:
    both, boards = join(crossed_boards(), pack[0], 7), crossed_boards()
    assert np.array_equal(both["verts"][: len(boards["verts"])], boards["verts"])
    (v0, v1), (f0, f1), (m0, _) = (both[key][1 + 3] for key in ("mesh_v", "mesh_f", "mesh_m"))
    (w0, w1), (g0, g1), (n0, _) = (pack[0][key][3] for key in ("mesh_v", "mesh_f", "mesh_m"))
    assert np.array_equal(both["verts"][v0:v1], pack[0]["verts"][w0:w1]) and np.array_equal(both["faces"][f0:f1], pack[0]["faces"][g0:g1])
    assert both["mats"][m0 + 1, 0] == pack[0]["mats"][n0 + 1, 0] + 7 and both["mats"][m0, 0] == -1  # leaves move on, bark has no texture


@pytest.mark.parametrize("role", list(Role))
def test_depth_and_normals_are_those_of_the_nearest_triangle(role: Role) -> None:
    """Every pixel of a mesh alone against rays through all its triangles (Moller and Trumbore)."""
    assets, side = load_assets("cpu", noise=2), 48
    mesh = int(assets.fine.of_role[role][5])
    instances = torch.zeros(1, ALL_INSTANCES, INSTANCE_COLUMNS)
    instances[..., 0] = -1
    instances[0, -1] = torch.tensor([mesh, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1.5, 1, -1])
    position = torch.tensor([0.5, 0.4, 1.6])
    R = look_at(position, torch.zeros(3), torch.tensor(0.1))
    camera = torch.cat([R.flatten(), position, torch.tensor([50.0, 50.0, side / 2, side / 2])])[None, None]
    light = torch.zeros(1, LIGHT_COLUMNS)
    light[:, [1, 3, 8, 9]] = torch.tensor([1.0, 0.5, 200, 1])
    tables = SceneTables(primitives=torch.zeros(1, PRIMITIVES, PRIMITIVE_COLUMNS), instances=instances, cameras=camera, lights=light)
    seen = render_tables(tables, assets, side, side)
    depth, normal = nearest_triangles(assets.meshes, mesh, 1.5, R.double().numpy(), position.double().numpy(), 50.0, side)
    got, got_normal = seen.depth[0, 0].double().numpy(), seen.normal[0, 0].double().numpy()
    both = (got > 0) & (depth < 1e9)
    assert both.sum() > 20
    assert ((got > 0) == (depth < 1e9)).mean() > 0.995  # a ray through an edge may fall on either side
    same = np.abs(got - depth)[both] < 1e-4 * depth[both]
    assert same.mean() > 0.995
    assert np.quantile(np.abs((got_normal * normal).sum(-1))[both][same], 0.01) > 1 - 1e-4


def nearest_triangles(meshes: dict, mesh: int, size: float, R: np.ndarray, position: np.ndarray, focal: float, side: int) -> tuple:
    """z [H, W], 1e9 where there is nothing, and normals [H, W, 3]."""
    (v0, v1), (f0, f1) = meshes["mesh_v"][mesh].tolist(), meshes["mesh_f"][mesh].tolist()
    corners = (size * meshes["verts"][v0:v1].double().numpy())[meshes["faces"][f0:f1].numpy().astype(int)]
    y, x = np.mgrid[:side, :side] + 0.5
    rays = np.stack([(x - side / 2) / focal, (y - side / 2) / focal, np.ones_like(x)], -1).reshape(-1, 3) @ R.T  # z of the camera grows by 1
    e1, e2, s = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], position - corners[:, 0]
    p, q = np.cross(rays[:, None], e2), np.cross(s, e1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / (p * e1).sum(-1)
        u, v, t = (p * s).sum(-1) * inverse, (rays @ q.T) * inverse, (e2 * q).sum(-1) * inverse
        t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, 1e9)
    n = np.cross(e1, e2)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
    return t.min(1).reshape(side, side), n[t.argmin(1)].reshape(side, side, 3)
