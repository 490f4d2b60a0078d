"""The stages after the surface, each alone: pieces, holes, folds, decimation, up, and the size of a scene."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from known_shapes import icosphere, room_scene, sphere_scene  # pyright: ignore[reportMissingImports]

import recon
from recon.errors import ReconError
from recon.geometry import project
from recon.io.axes import move
from recon.meshes.cleanup import clean, drop_pieces, fill_holes
from recon.meshes.colors import spread
from recon.meshes.decimation import decimate
from recon.meshes.faces import drop_degenerate, face_areas, face_crosses, with_faces, with_normals
from recon.meshes.folds import drop_folds
from recon.meshes.measure import point_in_photo, scaled_to
from recon.meshes.topology import boundary_edges, boundary_loops
from recon.meshes.upright import cameras_up, find_up, rotation_to, upright
from recon.scene import Cameras, Mesh, Scene

pytestmark = pytest.mark.usefixtures("open3d")

UP = torch.tensor([0.0, -1.0, 0.0])


def beside(one: Mesh, other: Mesh) -> Mesh:
    return Mesh(vertices=torch.cat([one.vertices, other.vertices]), faces=torch.cat([one.faces, other.faces + len(one.vertices)]))


def test_small_pieces_go_and_large_ones_stay():
    ball, crumb = icosphere(), icosphere(0.05)
    both = beside(ball, replace(crumb, vertices=crumb.vertices + 3))
    assert len(drop_pieces(both, 0.01).faces) == len(ball.faces)
    assert len(drop_pieces(both, 0.001).faces) == len(both.faces) == len(drop_pieces(both, 0).faces)


@pytest.mark.parametrize("corner", [0.02, 0.3])
def test_holes_are_filled_up_to_their_size(corner):
    ball = icosphere()
    middle = ball.vertices[ball.faces].mean(1)
    holed = with_faces(ball, middle[:, 2] < 1 - corner)
    around = 2 * math.pi * math.sqrt(1 - (1 - corner) ** 2)
    diagonal = float((ball.vertices.amax(0) - ball.vertices.amin(0)).norm())
    assert len(boundary_loops(holed.faces.numpy())) == 1
    filled = fill_holes(holed, 1.5 * around / diagonal)
    assert len(boundary_edges(filled.faces.numpy())) == 0
    assert float((face_crosses(filled) * filled.vertices[filled.faces].mean(1)).sum(1).min()) > 0  # the lid looks outwards too
    assert len(boundary_edges(fill_holes(holed, 0.5 * around / diagonal).faces.numpy())) > 0


def test_loops_that_touch_are_two():
    grid = [[i * 5 + j, i * 5 + j + 1, (i + 1) * 5 + j] for i in range(4) for j in range(4)]
    grid += [[i * 5 + j + 1, (i + 1) * 5 + j + 1, (i + 1) * 5 + j] for i in range(4) for j in range(4)]
    gone = {(1, 1), (2, 2)}  # two cells that share a corner
    faces = torch.tensor([f for f in grid if not any({i * 5 + j, i * 5 + j + 1, (i + 1) * 5 + j, (i + 1) * 5 + j + 1} >= set(f) for i, j in gone)])
    assert sorted(len(loop) for loop in boundary_loops(faces.numpy())) == [4, 4, 16]


def test_folds_and_faces_without_area_go():
    ball = icosphere()
    turned = ball.faces.clone()
    turned[100] = turned[100].flip(0)
    assert len(drop_folds(replace(ball, faces=turned)).faces) == len(ball.faces) - 1
    flat = torch.cat([ball.faces, torch.tensor([[5, 5, 6], [7, 8, 7]])])
    assert len(drop_degenerate(replace(ball, faces=flat)).faces) == len(ball.faces)
    assert len(clean(ball).faces) == len(ball.faces)


def test_decimation_keeps_to_the_budget_and_the_surface():
    ball = icosphere()
    for scale in (1.0, 1000.0, 1e-3):  # its threshold knows nothing of the unit
        simple = decimate(replace(ball, vertices=ball.vertices * scale + scale), 1000)
        assert 900 <= len(simple.faces) <= 1000
        assert float(((simple.vertices / scale - 1).norm(dim=1) - 1).abs().max()) < 0.02
    assert decimate(ball, len(ball.faces)) is ball


def test_normals_and_areas():
    ball = with_normals(icosphere())
    assert ball.normals is not None and float((ball.normals * ball.vertices).sum(1).min()) > 0.999
    assert float(face_areas(ball).sum()) == pytest.approx(4 * math.pi, rel=0.01)


def test_colours_are_carried_to_what_nobody_saw():
    faces = torch.tensor([[0, 1, 2], [1, 2, 3], [4, 5, 6]])
    colors = torch.full((7, 3), torch.nan)
    colors[0] = torch.tensor([1.0, 0, 0])
    out = spread(colors, faces)
    assert torch.equal(out[:4], torch.tensor([[1.0, 0, 0]]).repeat(4, 1)) and bool((out[4:] == 0.5).all())


@pytest.fixture(scope="module")
def standing_room() -> tuple[Scene, Mesh]:
    """A room in a world whose up is up."""
    scene = room_scene()
    return replace(scene, depth=None, pointmaps=None, images=None), recon.fuse(scene, faces=10_000, voxel_size=0.05, texture=False)


@pytest.mark.parametrize("up", [(0.3, -1.0, 0.2), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)])
def test_up_is_found_from_cameras_and_walls(standing_room, up):
    turn = rotation_to(UP, torch.tensor(up))
    true = turn.float() @ UP
    scene, mesh = move(standing_room[0], turn), move(standing_room[1], turn)
    held = rotation_to(UP, torch.tensor([0.1, -1.0, 0.05])).float()  # all cameras 6 degrees off
    T = scene.cameras.cam_to_world
    cameras = replace(scene.cameras, cam_to_world=torch.cat([torch.cat([held @ T[:, :3, :3], T[:, :3, 3:]], 2), T[:, 3:]], 1))
    scene = replace(scene, cameras=cameras)
    guess = cameras_up(scene)
    assert guess is not None and 2 < angle(guess, true) < 12
    assert angle(find_up(scene, mesh), true) < 0.5
    standing, R = upright(mesh, true)
    assert torch.allclose(R.float() @ true, UP, atol=1e-5)
    assert torch.allclose(standing.vertices.abs().amax(0), standing_room[1].vertices.abs().amax(0), atol=1e-4)


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.acos(float((a @ b).clamp(-1, 1))))


def test_a_ball_tells_nothing_of_up_but_its_cameras_do():
    scene = sphere_scene()
    assert angle(find_up(scene, icosphere()), UP) < 1
    no_views = Scene(cameras=Cameras(K=torch.zeros(0, 3, 3), cam_to_world=torch.zeros(0, 4, 4), width=1, height=1))
    assert torch.equal(find_up(no_views, icosphere()), UP)
    with pytest.raises(ReconError, match="wanted a direction"):
        rotation_to(torch.zeros(3), UP)


def test_a_known_length_makes_metres():
    scene = sphere_scene()
    eye = scene.cameras.cam_to_world[0, :3, 3]
    pole = eye / eye.norm()  # the place that the first camera looks at
    xy, _ = project(pole[None], scene.cameras.K[0], scene.cameras.world_to_cam[0])
    found = point_in_photo(scene, 0, float(xy[0, 0]), float(xy[0, 1]))
    assert torch.allclose(found.float(), pole, atol=5e-3)
    metres = scaled_to(scene, 0.5, found, -found)
    assert metres.metric and float(recon.fuse(metres, faces=2000, texture=False).vertices.norm(dim=1).mean()) == pytest.approx(0.25, rel=0.01)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ReconError, match="known length"):
            scaled_to(scene, wrong, found, -found)
    with pytest.raises(ReconError, match="one place"):
        scaled_to(scene, 1.0, found, found)
    for view, x, y, message in ((99, 0, 0, "no view 99"), (0, -5, 0, "outside of view 0"), (0, 1, 1, "shows no surface")):
        with pytest.raises(ReconError, match=message):
            point_in_photo(scene, view, x, y)
