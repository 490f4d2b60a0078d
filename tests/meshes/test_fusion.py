"""Meshes of shapes whose surface is known: how far off, which way round, how many faces; and Gaussians, points and single views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from known_shapes import distances, icosphere, room_scene, sphere_scene  # pyright: ignore[reportMissingImports]
from texture_scenes import around as views_around  # pyright: ignore[reportMissingImports]
from texture_scenes import inside as views_inside
from texture_scenes import photographed, psnr
from texture_scenes import room as box_room
from texture_scenes import sphere as bumpy

import recon
from recon.geometry import matrices_to_quats, project
from recon.io.content import no_cameras
from recon.meshes.cleanup import CleanUp
from recon.meshes.depth_views import depth_views
from recon.meshes.faces import face_areas, face_crosses
from recon.meshes.fusion import surface
from recon.meshes.resolution import choose_resolution
from recon.meshes.texture import draw_mesh
from recon.meshes.topology import boundary_edges, boundary_loops, components
from recon.scene import Cameras, Gaussians, Images, Mesh, Scene, Tracks

pytestmark = pytest.mark.usefixtures("open3d")

HALF = torch.tensor([2.0, 1.2, 2.0])


def silent(text: str, share: float) -> None:
    pass


def sphere_error(mesh: Mesh) -> torch.Tensor:
    return (mesh.vertices.norm(dim=1) - 1).abs()


def room_error(mesh: Mesh) -> torch.Tensor:
    """Distance to the nearest wall, from inside."""
    return (HALF - mesh.vertices.abs()).abs().amin(1)


def outward(mesh: Mesh) -> torch.Tensor:  # [F]
    """Cosine of each face's normal to the direction from the origin."""
    middle = mesh.vertices[mesh.faces].mean(1)
    return torch.nn.functional.cosine_similarity(face_crosses(mesh), middle, dim=1)


@pytest.mark.parametrize("method", ["tsdf", "poisson"])
def test_a_ball_within_half_a_voxel_and_the_right_way_round(method):
    scene = sphere_scene()
    views = depth_views(scene)
    voxel = choose_resolution(views).voxel_size
    mesh = recon.fuse(scene, method=method, faces=30_000, texture=False)
    assert float(sphere_error(mesh).mean()) < 0.5 * voxel
    assert len(mesh.faces) <= 30_000 and float(outward(mesh).min()) > 0
    assert mesh.normals is not None and float((mesh.normals * mesh.vertices).sum(1).min()) > 0.5
    assert mesh.colors is not None and float((mesh.colors - (mesh.vertices / 4 + 0.5)).abs().mean()) < 0.01
    assert int(components(mesh.faces.numpy(), len(mesh.vertices)).max()) == 0


def test_a_room_from_inside():
    scene = room_scene(30)
    voxel = choose_resolution(depth_views(scene)).voxel_size
    mesh = recon.fuse(scene, faces=20_000, texture=False)
    assert float(room_error(mesh).mean()) < 0.5 * voxel
    centres = mesh.vertices[mesh.faces].mean(1)
    wall = (HALF - centres.abs()).abs().argmin(1)
    inward = -torch.nn.functional.one_hot(wall, 3) * torch.sign(centres)
    facing = (torch.nn.functional.normalize(face_crosses(mesh), dim=1) * inward).sum(1)
    flat = (HALF - centres.abs()).abs().sort(1).values[:, 1] > 10 * voxel  # away from the edges of the room, further than a face is wide
    assert float(facing[flat].min()) > 0
    covered = float(face_areas(mesh).sum()) / (8 * float(HALF[0] * HALF[1] * 2 + HALF[0] * HALF[2]))
    assert 0.95 < covered < 1.02


def test_pixels_count_by_their_confidence():
    """A third of the views is 3 % off and says so: the surface stays with the others."""
    scene = sphere_scene()
    assert scene.depth is not None and scene.pointmaps is not None
    wrong = torch.zeros(len(scene), 1, 1)
    wrong[::3] = 1
    depth = scene.depth * (1 + 0.03 * wrong)
    told = replace(scene.pointmaps, confidence=torch.where(wrong > 0, 1.0, 40.0).expand_as(depth).clone())
    untold = replace(scene.pointmaps, confidence=torch.full_like(depth, 40.0))
    meshes = [recon.fuse(replace(scene, depth=depth, pointmaps=p), voxel_size=0.02, texture=False) for p in (told, untold)]
    error = [float(sphere_error(mesh).mean()) for mesh in meshes]
    assert error[0] < 0.3 * error[1]


def test_noise_is_averaged_and_makes_the_voxels_larger():
    noisy, clean = sphere_scene(noise=0.01), sphere_scene()
    resolution = choose_resolution(depth_views(noisy))
    assert resolution.error == pytest.approx(0.01 * 2.3, rel=0.4)  # 1 % of the distance
    assert resolution.voxel_size >= choose_resolution(depth_views(clean)).voxel_size
    mesh = recon.fuse(noisy, texture=False)
    assert float(sphere_error(mesh).mean()) < 0.5 * resolution.error


def test_one_view_is_a_grid_cut_at_edges():
    scene = sphere_scene()
    one = Scene(cameras=scene.cameras[0], images=scene.images[0], depth=scene.depth[:1])  # type: ignore[index]
    mesh = recon.fuse(one, texture=False)
    assert float(sphere_error(mesh).max()) < 1e-4
    eye = scene.cameras.cam_to_world[0, :3, 3]
    towards = ((eye - mesh.vertices[mesh.faces].mean(1)) * face_crosses(mesh)).sum(1)
    assert float(towards.min()) > 0 and len(boundary_loops(mesh.faces.numpy())) == 1


def test_one_photo_of_a_step_is_cut_at_it():
    """A square before a wall: no face leads from the one to the other, and what a mask leaves out is no surface."""
    depth = torch.full((1, 60, 80), 4.0)
    depth[:, 20:40, 30:50] = 3.0
    K = torch.tensor([[[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]])
    mask = torch.ones(1, 60, 80, dtype=torch.bool)
    mask[:, :, 70:] = False
    cameras = Cameras(K=K, cam_to_world=torch.eye(4)[None], width=80, height=60)
    mesh = recon.fuse(Scene(cameras=cameras, depth=depth, images=Images(rgb=torch.full((1, 60, 80, 3), 0.5), mask=mask)), texture=False)
    z = mesh.vertices[mesh.faces][..., 2]
    assert float((z.amax(1) - z.amin(1)).max()) < 1e-5 and set(z.flatten().round(decimals=3).tolist()) == {3.0, 4.0}
    at = project(mesh.vertices, K[0], torch.eye(4))[0][:, 0]
    assert 65 < float(at.max()) < 70
    one = components(mesh.faces.numpy(), len(mesh.vertices))
    assert one.max() == 1 and float(face_areas(mesh).sum()) == pytest.approx((70 * 60 - 22 * 22) / 80**2 * 16 + 20 * 20 / 80**2 * 9, rel=0.06)


@pytest.mark.parametrize("how", ["photo", "pointmap", "unsure"])
def test_what_is_masked_or_unsure_is_no_surface(how):
    """Beside the ball each view says that something hangs there, as a sky does: left out by a mask, or too unsure to count against the others."""
    scene = sphere_scene()
    assert scene.depth is not None and scene.pointmaps is not None and scene.images is not None
    sky = torch.zeros_like(scene.pointmaps.mask)
    sky[:, :25, :40] = True
    whole = scene.pointmaps.mask | sky
    assert not bool((scene.pointmaps.mask & sky).any())
    fog = replace(scene, depth=torch.where(sky, 2.5, scene.depth), pointmaps=replace(scene.pointmaps, mask=whole))
    out = {
        "photo": replace(fog, images=replace(fog.images, mask=~sky)), "pointmap": replace(fog, pointmaps=replace(scene.pointmaps, mask=whole & ~sky)),
        "unsure": replace(fog, pointmaps=replace(scene.pointmaps, mask=whole, confidence=torch.where(sky, 0.5, 20.0))),
    }  # fmt: skip
    options = {"faces": 5000, "voxel_size": 0.06, "texture": False, "cleanup": CleanUp(least_piece=0)}
    assert float(sphere_error(recon.fuse(fog, **options)).max()) > 0.3
    assert float(sphere_error(recon.fuse(out[how], **options)).max()) < 0.06


def test_an_object_and_a_room_come_back_in_their_pictures():
    """From exact depth to a textured mesh and back to the photos; the object within half a voxel and nothing flipped."""
    for true, cameras in ((bumpy(4, bumps=0.15), views_around(8, 160)), (box_room(), views_inside(8, 160))):
        scene = photographed(true, cameras, wavelength=0.6)
        voxel = choose_resolution(depth_views(scene)).voxel_size
        mesh = recon.fuse(scene, faces=40_000)
        off, facing = distances(mesh.vertices.double().numpy(), true)
        assert float(off.mean()) < 0.5 * voxel
        normals = torch.nn.functional.normalize(mesh.normals, dim=1).numpy()
        assert float(((normals * facing).sum(1) < 0).mean()) < 1e-3
        assert min(psnr(scene, draw_mesh(mesh, cameras))) > 27


def test_a_closed_solid_of_an_open_surface():
    import manifold3d
    import trimesh

    scene = sphere_scene()
    eyes = scene.cameras.cam_to_world[:, 1, 3]
    above = scene.images is not None and (eyes < 1.0).nonzero()[:, 0]  # nobody looks from below: the bottom is open
    part = Scene(cameras=scene.cameras[above], images=scene.images[above], depth=scene.depth[above])  # type: ignore[index]
    options = {"faces": 8000, "voxel_size": 0.04, "texture": False}
    assert len(boundary_edges(recon.fuse(part, **options).faces.numpy())) > 0
    mesh = recon.fuse(part, watertight=True, **options)
    assert len(boundary_edges(mesh.faces.numpy())) == 0 and len(mesh.faces) <= 8000
    theirs = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy())
    assert theirs.is_watertight and theirs.is_winding_consistent and theirs.volume > 0
    solid = manifold3d.Manifold(manifold3d.Mesh(mesh.vertices.numpy(), mesh.faces.int().numpy().astype("uint32")))
    assert solid.status() == manifold3d.Error.NoError and solid.volume() == pytest.approx(4.19, rel=0.06)  # a little more where it bulges


def gaussian_ball(count: int = 6000) -> Gaussians:
    """Flat discs on the unit sphere, red on one side and blue on the other."""
    index = torch.arange(count) + 0.5
    z, angle = 1 - 2 * index / count, index * torch.pi * (1 + 5**0.5)
    ring = (1 - z * z).sqrt()
    means = torch.stack([ring * angle.cos(), ring * angle.sin(), z], 1)
    color = torch.where(means[:, :1] > 0, torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0]))
    sh = ((color - 0.5) / 0.28209479)[:, None]
    side = torch.nn.functional.normalize(torch.linalg.cross(means, torch.tensor([0.1, 0.2, 1.0]).expand_as(means)), dim=1)
    quats = matrices_to_quats(torch.stack([side, torch.linalg.cross(means, side), means], -1))
    return Gaussians(means=means, quats=quats, scales=torch.tensor([0.02, 0.02, 0.002]).repeat(count, 1), opacities=torch.full((count,), 0.95), sh=sh)


def test_gaussians_alone_are_looked_at_from_all_sides():
    mesh = recon.fuse(Scene(cameras=no_cameras(), gaussians=gaussian_ball()), faces=20_000, voxel_size=0.03, texture=False)
    assert float(sphere_error(mesh).mean()) < 0.01 and len(mesh.faces) > 5_000
    assert mesh.colors is not None and float(outward(mesh).quantile(0.01)) > 0
    right, left = mesh.colors[mesh.vertices[:, 0] > 0.1].mean(0), mesh.colors[mesh.vertices[:, 0] < -0.1].mean(0)
    assert right[0] > 0.9 > 0.1 > right[2] and left[2] > 0.9 > 0.1 > left[0]


def test_gaussians_are_looked_at_from_given_cameras():
    cameras = sphere_scene().cameras[[0, 1, 2]]
    mesh = recon.fuse(Scene(cameras=no_cameras(), gaussians=gaussian_ball()), cameras=cameras, texture=False)
    whole = 4 * torch.pi
    assert float(sphere_error(mesh).mean()) < 0.01 and float(face_areas(mesh).sum()) < 0.75 * whole


def test_bare_points():
    none = torch.zeros(0, dtype=torch.int64)
    points = icosphere().vertices
    tracks = Tracks(points=points, view=none, point=none, xy=torch.zeros(0, 2), error=torch.zeros(len(points)))
    mesh, _ = surface(Scene(cameras=no_cameras(), tracks=tracks), "poisson", None, silent)
    assert float(sphere_error(mesh).mean()) < 0.01


def test_a_texture_progress_that_only_grows_and_a_scene_that_stays():
    scene = sphere_scene()
    before = scene.depth.clone()  # type: ignore[union-attr]
    told: list[tuple[str, float]] = []
    mesh = recon.fuse(scene, faces=2000, texture_size=256, progress=lambda text, share: told.append((text, share)))
    assert mesh.texture is not None and mesh.texture.shape[0] <= 256 and mesh.uvs is not None and mesh.normals is not None
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len({text for text, _ in told}) >= 8
    assert torch.equal(scene.depth, before)  # type: ignore[arg-type]
