"""The faults found in other exporters, one test each: ours have none of them. The numbers are those of the project's list of peers' faults."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import recon.io as io
from recon.errors import FileError
from recon.geometry import quats_to_matrices
from recon.io.gltf import Document, to_linear
from recon.scene import Gaussians, Scene


def vertices(path) -> np.ndarray:
    return PlyData.read(path)["vertex"].data


def test_fault_01_opacity_is_stored_as_logit(splats, tmp_path):
    scene = splats(300)
    io.save(scene, tmp_path / "a.ply")
    stored = vertices(tmp_path / "a.ply")["opacity"]
    assert np.allclose(1 / (1 + np.exp(-stored.astype(float))), scene.gaussians.opacities.numpy(), atol=1e-6)
    assert stored.min() < -1  # an activated opacity would lie in 0..1


def test_fault_02_opacity_1_is_finite_and_nothing_is_dropped(splats, tmp_path):
    scene = splats(300)
    g = replace(scene.gaussians, opacities=torch.cat([torch.zeros(150), torch.ones(150)]))
    io.save(replace(scene, gaussians=g), tmp_path / "a.ply")
    stored = vertices(tmp_path / "a.ply")
    assert len(stored) == 300 and all(np.isfinite(stored[name]).all() for name in stored.dtype.names)
    assert sum(name.startswith("f_rest_") for name in stored.dtype.names) == 45
    back = io.load(tmp_path / "a.ply").gaussians
    assert back.opacities.max() > 0.99999 and back.opacities.min() < 1e-5
    inside_out = np.array(stored)
    inside_out["opacity"] = np.where(np.arange(300) < 150, -np.inf, np.inf)  # what those peers write is still read
    PlyData([PlyElement.describe(inside_out, "vertex")]).write(tmp_path / "theirs.ply")
    assert torch.equal(io.load(tmp_path / "theirs.ply").gaussians.opacities, g.opacities)


def test_fault_03_f_rest_is_channel_by_channel(splats, tmp_path):
    scene = splats(10)
    io.save(scene, tmp_path / "a.ply")
    stored, sh = vertices(tmp_path / "a.ply"), scene.gaussians.sh.numpy()
    for channel in range(3):
        for k in range(15):
            assert np.array_equal(stored[f"f_rest_{channel * 15 + k}"], sh[:, k + 1, channel])


def test_fault_04_rotations_are_in_the_world(tmp_path):
    """A needle along the world's x axis is one in the file too, whatever cameras the scene has."""
    g = Gaussians(
        means=torch.zeros(1, 3), quats=torch.tensor([[1.0, 0, 0, 0]]), scales=torch.tensor([[1.0, 0.01, 0.01]]), opacities=torch.ones(1),
        sh=torch.zeros(1, 1, 3),
    )  # fmt: skip
    from recon.scene import Cameras

    turned = torch.eye(4)
    turned[:3, :3] = quats_to_matrices(torch.tensor([0.7, 0.1, 0.7, 0.1]))
    scene = Scene(cameras=Cameras(K=torch.eye(3)[None], cam_to_world=turned[None], width=4, height=4), gaussians=g)
    io.save(scene, tmp_path / "a.ply")
    row = vertices(tmp_path / "a.ply")[0]
    assert [row[f"rot_{i}"] for i in range(4)] == [1, 0, 0, 0] and row["scale_0"] == 0


def test_fault_05_only_a_vertex_element_is_written_and_more_are_read(splats, tmp_path):
    scene = splats(20)
    io.save(scene, tmp_path / "a.ply")
    ply = PlyData.read(tmp_path / "a.ply")
    assert [e.name for e in ply.elements] == ["vertex"]
    extra = [np.array([(1.5,)] * 16, [("extrinsic", "f4")]), np.array([(7,), (8,)], [("image_size", "u4")])]
    elements = [ply["vertex"], *(PlyElement.describe(e, str(e.dtype.names[0])) for e in extra)]
    PlyData(elements).write(tmp_path / "after.ply")
    PlyData(elements[::-1]).write(tmp_path / "before.ply")
    for name in ("after.ply", "before.ply"):
        assert torch.equal(io.load(tmp_path / name).gaussians.means, scene.gaussians.means)
    data = ply["vertex"].data
    bare = np.empty(len(data), [(n, "f4") for n in reversed(data.dtype.names) if n not in ("nx", "ny", "nz")])
    for n in bare.dtype.names:
        bare[n] = data[n]
    PlyData([PlyElement.describe(bare, "vertex")], byte_order=">").write(tmp_path / "bare.ply")  # no normals, other order, big endian
    torch.testing.assert_close(io.load(tmp_path / "bare.ply").gaussians.sh, scene.gaussians.sh, atol=0, rtol=0)
    without_rotation = [n for n in bare.dtype.names if n != "rot_3"]
    PlyData([PlyElement.describe(bare[without_rotation].astype([(n, "f4") for n in without_rotation]), "vertex")]).write(tmp_path / "no_rot_3.ply")
    with pytest.raises(FileError, match="rot_3"):
        io.load(tmp_path / "no_rot_3.ply")


@pytest.mark.parametrize("name", ["a.ply", "a.splat", "a.spz", "a.sog", "a.compressed.ply", "a.splats.glb"])
def test_fault_06_one_nan_spoils_one_gaussian(splats, tmp_path, name, caplog):
    scene = splats(100)
    opacities = scene.gaussians.opacities.clone()
    opacities[42] = math.nan
    broken = replace(scene, gaussians=replace(scene.gaussians, opacities=opacities))
    io.save(broken, tmp_path / name)
    assert len(io.load(tmp_path / name).gaussians) == 99
    assert "1 of 100 Gaussians" in caplog.text and len(broken.gaussians) == 100


@pytest.mark.parametrize("name", ["a.ply", "a.splat", "a.spz", "a.sog", "a.compressed.ply", "a.splats.glb"])
def test_fault_07_rotations_are_normalised(splats, tmp_path, name):
    scene = splats(100)
    long = replace(scene, gaussians=replace(scene.gaussians, quats=scene.gaussians.quats * torch.linspace(0.1, 9, 100)[:, None]))
    io.save(long, tmp_path / name)
    io.save(scene, tmp_path / f"unit_{name}")
    a, b = io.load(tmp_path / name).gaussians.quats, io.load(tmp_path / f"unit_{name}").gaussians.quats
    torch.testing.assert_close(a.norm(dim=1), torch.ones(100), atol=1e-5, rtol=0)
    assert (1 - (a * b).sum(1).abs()).max() < 2e-4


@pytest.mark.parametrize("name", ["colmap", "colmap_binary", "transforms.json", "cameras.json"])
def test_fault_08_cameras_are_those_of_the_written_photos(views, tmp_path, name):
    """Not those of the network's grid: the size in the file is the picture's, and a point falls where it does in the photo."""
    scene = views()
    (tmp_path / "out").mkdir()
    io.save(scene, tmp_path / "out" / name)
    back = io.load(tmp_path / "out" / name)
    assert back.cameras.photo_width.tolist() == [128] * 3 and back.cameras.photo_height.tolist() == [96] * 3
    torch.testing.assert_close(back.cameras.K[:, 0, 0].float(), scene.cameras.K[:, 0, 0] * 2)
    for picture in (tmp_path / "out").rglob("*.jpg"):
        from PIL import Image

        with Image.open(picture) as image:
            assert image.size == (128, 96)


def test_fault_09_each_frame_has_its_own_lens_and_size(views, tmp_path):
    scene = views(with_tracks=True)
    (tmp_path / "ns").mkdir()
    io.save(scene, tmp_path / "ns" / "transforms.json")
    frames = json.loads((tmp_path / "ns" / "transforms.json").read_text())["frames"]
    assert [f["fl_x"] for f in frames] == [100, 110, 120] and [f["cx"] for f in frames] == [64, 66, 68]  # w is not 2 cx
    assert all((f["w"], f["h"]) == (128, 96) for f in frames)
    io.save(scene, tmp_path / "colmap")
    tracks = io.load(tmp_path / "colmap").tracks
    assert len(tracks) == 63 and len(tracks.view) == 3 * 63


def test_fault_10_saving_in_all_formats_changes_nothing(views, splats, sphere, tmp_path):
    scene = replace(views(with_tracks=True), gaussians=splats(50).gaussians, mesh=sphere.mesh)
    tensors = [v for part in vars(scene).values() for v in getattr(part, "__dict__", {}).values() if isinstance(v, torch.Tensor)]
    before = [t.clone() for t in tensors]
    for name in io.formats():
        path = tmp_path / io.file_name(name)
        path.parent.mkdir(exist_ok=True)
        io.save(scene, path)
        assert all(torch.equal(a, b) or (a.isnan() == b.isnan()).all() for a, b in zip(tensors, before, strict=True)), name
        for a, b in zip(tensors, before, strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0, equal_nan=True)


def test_fault_11_color_0_is_linear(splats, tmp_path):
    scene = splats(200)
    io.save(scene, tmp_path / "a.glb")
    document = Document(tmp_path / "a.glb")
    attributes = document.json["meshes"][0]["primitives"][0]["attributes"]
    color = document.accessor(attributes["COLOR_0"])
    srgb = (0.5 + 0.28209479177387814 * scene.gaussians.sh[:, 0]).clamp(0, 1).numpy()
    assert np.allclose(color[:, :3], to_linear(srgb), atol=1e-5)
    assert np.allclose(color[:, 3], scene.gaussians.opacities.numpy(), atol=1e-5)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_fault_12_spz_axes_are_right_up_back_and_can_be_told(splats, tmp_path, version):
    """As the specification says; `axes` reads and writes the files of programs that leave a PLY's axes as they are."""
    scene = splats(100)
    io.save(scene, tmp_path / "a.spz", spz_version=version)
    raw = io.load(tmp_path / "a.spz", axes="opencv").gaussians
    torch.testing.assert_close(raw.means, scene.gaussians.means * torch.tensor([1.0, -1, -1]), atol=1e-5, rtol=0)
    io.save(scene, tmp_path / "b.spz", spz_version=version, axes="opencv")
    torch.testing.assert_close(io.load(tmp_path / "b.spz", axes="opencv").gaussians.means, scene.gaussians.means, atol=1e-5, rtol=0)
