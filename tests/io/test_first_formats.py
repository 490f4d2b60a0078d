"""The formats that a reconstruction writes: nothing lost, other libraries agree, the scene stays as it was."""

import hashlib

import numpy as np
import pytest
import torch

import recon.io as io


def digest(scene) -> str:
    """Of all tensors of a scene."""
    total = hashlib.sha256()
    for part in (scene.cameras, scene.pointmaps, scene.gaussians, scene.mesh, scene.tracks, scene.images):
        for value in vars(part).values() if part is not None else ():
            if isinstance(value, torch.Tensor):
                total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()


def close(a, b, names=("means", "scales", "opacities", "sh"), atol=1e-6):
    for name in names:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=atol, rtol=1e-5)
    dot = (a.quats * b.quats).sum(1).abs()
    torch.testing.assert_close(dot, torch.ones_like(dot), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["a.ply", "a.splats.glb", "a.gltf", "a.npz"])
def test_lossless_splats(splats, tmp_path, name, degree):
    scene = splats(degree=degree)
    before = digest(scene)
    io.save(scene, tmp_path / name)
    close(io.load(tmp_path / name).gaussians, scene.gaussians)
    assert digest(scene) == before
    assert {p.name for p in tmp_path.iterdir()} == {name, ".recon"}


def test_degree_4(splats, tmp_path, caplog):
    scene = splats(degree=4)
    io.save(scene, tmp_path / "a.ply")
    assert io.load(tmp_path / "a.ply").gaussians.sh.shape[1] == 16
    assert "cut to degree 3" in caplog.text
    io.save(scene, tmp_path / "a.ply", sh_degree=4)
    close(io.load(tmp_path / "a.ply").gaussians, scene.gaussians)


@pytest.mark.parametrize("encoding", ["binary", "big-endian", "ascii"])
def test_points_ply(views, tmp_path, encoding):
    from plyfile import PlyData

    scene = views()
    io.save(scene, tmp_path / "points.ply", encoding=encoding)
    points, rgb = scene.pointmaps.points.reshape(-1, 3), scene.images.rgb.reshape(-1, 3)
    ours = io.load(tmp_path / "points.ply").tracks
    torch.testing.assert_close(ours.points, points, atol=0, rtol=0)
    torch.testing.assert_close(ours.colors, rgb, atol=0.5 / 255 + 1e-6, rtol=0)
    vertex = PlyData.read(tmp_path / "points.ply")["vertex"]
    assert np.array_equal(np.stack([vertex[a] for a in "xyz"], 1), points.numpy())
    assert np.array_equal(vertex["confidence"], scene.pointmaps.confidence.reshape(-1).numpy())


def test_open3d_reads_points(views, tmp_path):
    open3d = pytest.importorskip("open3d", reason="Open3D does not load here", exc_type=ImportError)
    scene = views()
    io.save(scene, tmp_path / "points.ply")
    points, rgb = scene.pointmaps.points.reshape(-1, 3), scene.images.rgb.reshape(-1, 3)
    cloud = open3d.io.read_point_cloud(str(tmp_path / "points.ply"))
    assert np.array_equal(np.asarray(cloud.points, np.float32), points.numpy())
    assert np.allclose(np.asarray(cloud.colors), rgb.numpy(), atol=0.5 / 255 + 1e-6)


def test_points_glb(views, tmp_path):
    import trimesh

    scene = views()
    io.save(scene, tmp_path / "scene.glb")
    points = scene.pointmaps.points.reshape(-1, 3)
    ours = io.load(tmp_path / "scene.glb").tracks
    torch.testing.assert_close(ours.points, points, atol=0, rtol=0)
    torch.testing.assert_close(ours.colors, scene.images.rgb.reshape(-1, 3), atol=1e-6, rtol=1e-5)
    theirs = trimesh.load(tmp_path / "scene.glb").to_geometry()
    assert np.allclose(theirs.vertices, points.numpy() * [1, -1, -1])  # y up


@pytest.mark.parametrize("name", ["a.glb", "a.gltf", "a.mesh.ply"])
def test_meshes(sphere, tmp_path, name):
    import trimesh

    before = digest(sphere)
    io.save(sphere, tmp_path / name)
    assert digest(sphere) == before
    mesh = io.load(tmp_path / name).mesh
    torch.testing.assert_close(mesh.vertices, sphere.mesh.vertices, atol=0, rtol=0)
    torch.testing.assert_close(mesh.normals, sphere.mesh.normals, atol=1e-6, rtol=0)
    torch.testing.assert_close(mesh.colors, sphere.mesh.colors, atol=1e-6 if "ply" not in name else 0.002, rtol=1e-5)
    assert torch.equal(mesh.faces, sphere.mesh.faces)
    theirs = trimesh.load(tmp_path / name)
    theirs = theirs.to_geometry() if isinstance(theirs, trimesh.Scene) else theirs
    assert theirs.is_winding_consistent and len(theirs.faces) == len(mesh.faces)
    centre = np.array([1, 2, 3]) * ([1, 1, 1] if "ply" in name else [1, -1, -1])
    assert ((theirs.triangles_center - centre) * theirs.face_normals).sum(1).min() > 0  # outward


@pytest.mark.parametrize("with_tracks", [False, True])
@pytest.mark.parametrize("name", ["colmap", "out.colmap_binary"])
def test_colmap(views, tmp_path, name, with_tracks):
    import pycolmap
    from PIL import Image

    scene = views(with_tracks=with_tracks)
    before = digest(scene)
    io.save(scene, tmp_path / name)
    assert digest(scene) == before
    ours = io.load(tmp_path / name)
    torch.testing.assert_close(ours.cameras.cam_to_world.float(), scene.cameras.cam_to_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.cameras.K.float(), torch.cat([c.K for c in scene.cameras.for_photos()]), atol=0, rtol=1e-6)
    theirs = pycolmap.Reconstruction(tmp_path / name / "sparse" / "0")
    assert theirs.num_points3D() == len(ours.tracks) > 50
    assert min(p.track.length() for p in theirs.points3D.values()) >= 2
    assert theirs.compute_mean_reprojection_error() < 0.05
    for image in theirs.images.values():
        T = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        assert np.allclose(T, scene.cameras.world_to_cam[image.image_id - 1].numpy(), atol=1e-5)
        with Image.open(tmp_path / name / "images" / image.name) as picture:
            assert picture.size == (theirs.cameras[image.camera_id].width, theirs.cameras[image.camera_id].height) == (128, 96)


def test_bundle_adjustment_runs_on_our_tracks(views, tmp_path):
    """Points that are moved by 2 cm come back: the observations carry what COLMAP needs."""
    import pycolmap

    io.save(views(with_tracks=True), tmp_path / "colmap")
    model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
    random = np.random.default_rng(0)
    for point in model.points3D.values():
        point.xyz = point.xyz + random.normal(0, 0.02, 3)
    model.update_point_3d_errors()
    before = model.compute_mean_reprojection_error()
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.bundle_adjustment(model, options)
    assert before > 0.3
    assert model.compute_mean_reprojection_error() < 1e-3


def test_npz_holds_everything(views, splats, sphere, tmp_path):
    from dataclasses import fields, replace

    scene = replace(views(with_tracks=True), gaussians=splats().gaussians, mesh=sphere.mesh, metric=True)
    io.save(scene, tmp_path / "a.npz")
    back = io.load(tmp_path / "a.npz")
    for part in ("cameras", "pointmaps", "gaussians", "mesh", "tracks", "images"):
        for field in fields(getattr(scene, part)):
            a, b = getattr(getattr(scene, part), field.name), getattr(getattr(back, part), field.name)
            if isinstance(a, torch.Tensor):
                assert a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes(), (part, field.name)
            elif field.name == "photos":
                assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
            else:
                assert a == b, (part, field.name)
    assert torch.equal(scene.depth, back.depth) and back.metric and back.report == {"note": "made"}
