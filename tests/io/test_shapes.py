"""What files hold besides triangles and round Gaussians: strips, fans, polygons with dents, flat and filtered Gaussians, materials' colours."""

import base64
import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

import recon.io as io
from recon.cli import main
from recon.errors import FileError
from recon.io.inspect import inspect
from recon.io.polygons import of_fan, of_strip, triangles


def area_and_inside(places: np.ndarray, faces: np.ndarray, outline: list[tuple[float, float]]) -> tuple[float, bool]:
    """The triangles' area in all, and whether each middle lies in the outline."""
    corners = places[faces][:, :, :2].astype(np.float32)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = float(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2)
    shape = np.array(outline, np.float32)[:, None]
    return area, all(cv2.pointPolygonTest(shape, tuple(map(float, m)), False) >= 0 for m in corners.mean(1))


def star(points: int, dent: float) -> list[tuple[float, float]]:
    corners = [(dent if i % 2 else 1.0, math.pi * i / points) for i in range(2 * points)]
    return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in corners]


OUTLINES = {
    "arrow": [(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)], "backwards": [(0, 4), (2, 1), (4, 4), (4, 0), (0, 0)], "star": star(5, 0.3),
    "many": star(30, 0.5), "L": [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)], "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "on a line": [(0, 0), (1, 0), (2, 0), (2, 2), (1, 0.5), (0, 2)],
}  # fmt: skip


def area_of(outline: list[tuple[float, float]]) -> float:
    x, y = np.array(outline).T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("file", ["a.obj", "a.ply"])
def test_polygons_with_dents(tmp_path, name, file):
    """The triangles cover the polygon and nothing else, in any plane."""
    outline = OUTLINES[name]
    flat = np.c_[np.array(outline), np.zeros(len(outline))]
    for turn in (np.eye(3), np.eye(3)[[2, 0, 1]], np.eye(3)[[1, 2, 0]], np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]):
        places = flat @ turn.T
        if file == "a.obj":
            lines = [f"v {x:g} {y:g} {z:g}\n" for x, y, z in places]
            (tmp_path / file).write_text("".join(lines) + f"f {' '.join(map(str, range(1, len(places) + 1)))}\n")
        else:
            rows = np.array([tuple(p) for p in places], [(a, "f8") for a in "xyz"])
            face = np.empty(1, [("vertex_indices", "O")])
            face["vertex_indices"][0] = np.arange(len(places), dtype="i4")
            PlyData([PlyElement.describe(rows, "vertex"), PlyElement.describe(face, "face")], text=True).write(tmp_path / file)
        mesh = io.load(tmp_path / file, axes="opencv").mesh
        back = mesh.vertices.double().numpy() @ turn
        area, inside = area_and_inside(back, mesh.faces.numpy(), outline)
        assert len(mesh.faces) == len(outline) - 2 and area == pytest.approx(area_of(outline), rel=1e-4) and inside
        normals = np.cross(back[mesh.faces[:, 1]] - back[mesh.faces[:, 0]], back[mesh.faces[:, 2]] - back[mesh.faces[:, 0]])[:, 2]
        signed = np.array(outline)
        way = np.sign((signed[:, 0] * np.roll(signed[:, 1], -1) - signed[:, 1] * np.roll(signed[:, 0], -1)).sum())
        assert (normals * way >= -1e-6).all()


def test_polygons_without_end_take_no_time(caplog):
    rng = np.random.default_rng(0)
    polygons, places = rng.integers(0, 5000, (300, 400)), rng.normal(size=(5000, 3))
    assert len(triangles(Path("a.obj"), polygons, places)) == 300 * 398 and "cut as fans" in caplog.text


def test_strips_and_fans():
    assert of_strip(np.array([0, 1, 2, 3])).tolist() == [[0, 1, 2], [2, 1, 3]]
    assert of_strip(np.array([0, 1, 2, 2, 3, 3, 4, 5])).tolist() == [[0, 1, 2], [4, 3, 5]] or len(of_strip(np.array([0, 1, 2, 2, 3, 3, 4, 5]))) == 2
    assert of_fan(np.array([5, 1, 2, 3])).tolist() == [[5, 1, 2], [5, 2, 3]]
    assert len(of_strip(np.array([0, 1]))) == len(of_fan(np.array([0]))) == 0


def gltf(
    path: Path, mode: int, *, material: dict | None = None, sparse: bool = False, no_view: bool = False, required: list[str] | None = None
) -> Path:
    """A square of four corners as a strip or a fan."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]] if mode == 5 else [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "<f4")
    accessor: dict = {"componentType": 5126, "count": 4, "type": "VEC3", "bufferView": 0}
    data, views = corners.tobytes(), [{"buffer": 0, "byteLength": 48}]
    if sparse:
        data += np.array([3], "<u2").tobytes() + b"\0\0" + np.array([5, 5, 0], "<f4").tobytes()
        views += [{"buffer": 0, "byteOffset": 48, "byteLength": 2}, {"buffer": 0, "byteOffset": 52, "byteLength": 12}]
        accessor["sparse"] = {"count": 1, "indices": {"bufferView": 1, "componentType": 5123}, "values": {"bufferView": 2}}
    if no_view:
        del accessor["bufferView"]
    document = {
        "asset": {"version": "2.0"}, "nodes": [{"mesh": 0}], "bufferViews": views, "accessors": [accessor],
        "buffers": [{"byteLength": len(data), "uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode()}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": mode, **({"material": 0} if material else {})}]}],
        **({"materials": [material]} if material else {}), **({"extensionsRequired": required} if required else {}),
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("mode", [5, 6])
def test_strips_and_fans_of_gltf(tmp_path, mode):
    mesh = io.load(gltf(tmp_path / "a.gltf", mode), axes="opencv").mesh
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = torch.linalg.cross(b - a, c - a)
    assert len(mesh.faces) == 2 and normals[:, 2].tolist() == [1, 1]  # both turn the same way, and cover the square


def test_sparse_accessors_and_accessors_without_a_view(tmp_path):
    mesh = io.load(gltf(tmp_path / "a.gltf", 6, sparse=True), axes="opencv").mesh
    assert mesh.vertices[3].tolist() == [5, 5, 0] and mesh.vertices[1].tolist() == [1, 0, 0]
    mesh = io.load(gltf(tmp_path / "a.gltf", 6, sparse=True, no_view=True), axes="opencv").mesh
    assert mesh.vertices[3].tolist() == [5, 5, 0] and mesh.vertices[:3].abs().max() == 0


def test_zeros_out_of_nothing_have_a_bound(tmp_path):
    document = json.loads(gltf(tmp_path / "a.gltf", 6, no_view=True).read_text())
    document["accessors"][0]["count"] = 1 << 40
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    with pytest.raises(FileError, match="that are nowhere in its"):
        io.load(tmp_path / "a.gltf")


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_draco_mesh_compression", "KHR_texture_basisu", "VENDOR_secret"])
def test_what_a_file_needs_is_named_first(tmp_path, name):
    path = gltf(tmp_path / "a.gltf", 6, required=["KHR_texture_transform", name])
    path.write_text(path.read_text().replace('"byteLength": 48, "uri"', '"byteLength": 4800, "uri"'))  # and is cut off besides
    with pytest.raises(FileError, match=f"needs {name}, which is not read"):
        io.load(path)


def test_base_colours_of_materials(tmp_path):
    material = {"pbrMetallicRoughness": {"baseColorFactor": [1.0, 0.2140411, 0.0, 1.0]}}
    mesh = io.load(gltf(tmp_path / "a.gltf", 6, material=material)).mesh
    torch.testing.assert_close(mesh.colors, torch.tensor([[1.0, 0.5, 0.0]]).expand(4, 3), atol=1e-3, rtol=0)


def test_colours_of_obj_materials(tmp_path):
    """Corners that two materials share are doubled; a face without a material is white."""
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    square = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 2 0 0\n"
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{square}f 2 5 3\nusemtl red\nf 1 2 3\nusemtl blue\nf 1 3 4\n")
    mesh = io.load(tmp_path / "a.obj").mesh
    assert mesh.colors[mesh.faces].unique(dim=1).shape[1] == 1 or len(mesh.vertices) == 9
    assert mesh.colors[mesh.faces[:, 0]].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 1]]
    assert all(mesh.colors[face].unique(dim=0).shape[0] == 1 for face in mesh.faces)


def test_strips_of_ply(tmp_path):
    (tmp_path / "a.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\nelement tristrips 1\n"
        "property list int int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n2 2 0\n8 0 1 2 3 -1 1 3 4\n"
    )
    assert io.load(tmp_path / "a.ply").mesh.faces.tolist() == [[0, 1, 2], [2, 1, 3], [1, 3, 4]]
    (tmp_path / "a.ply").write_text((tmp_path / "a.ply").read_text().replace("1 3 4\n", "1 3 9\n"))
    with pytest.raises(FileError, match="strips with the vertex 9"):
        io.load(tmp_path / "a.ply")


@pytest.mark.parametrize("extension", ["KHR_gaussian_splatting_compression_spz", "KHR_gaussian_splatting_compression_spz_2", "old"])
def test_spz_inside_glb(splats, tmp_path, extension):
    """The same Gaussians as the .spz alone."""
    io.save(splats(30, degree=1), tmp_path / "a.spz")
    content = (tmp_path / "a.spz").read_bytes()
    inner = {"bufferView": 0}
    extensions: dict = {"KHR_gaussian_splatting": {"extensions": {extension: inner}}}
    if extension == "old":
        extensions = {"KHR_spz_gaussian_splats_compression": inner}
    document = {
        "asset": {"version": "2.0"}, "nodes": [{"mesh": 0}], "bufferViews": [{"buffer": 0, "byteLength": len(content)}],
        "buffers": [{"byteLength": len(content), "uri": "data:application/octet-stream;base64," + base64.b64encode(content).decode()}],
        "accessors": [{"componentType": 5126, "count": 30, "type": "VEC3"}], "extensionsRequired": list(extensions),
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0, "extensions": extensions}]}],
    }  # fmt: skip
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    ours, alone = io.load(tmp_path / "a.gltf").gaussians, io.load(tmp_path / "a.spz").gaussians
    assert all(torch.equal(getattr(ours, name), getattr(alone, name)) for name in ("means", "quats", "scales", "opacities", "sh"))


def trainers(path: Path, scene, drop: tuple[str, ...] = (), **more: np.ndarray) -> Path:
    """A trainer's PLY: recon's without some properties and with more."""
    io.save(scene, path)
    old = PlyData.read(path, mmap=False)["vertex"].data
    names = [name for name in old.dtype.names if name not in drop]
    rows = np.zeros(len(old), [(name, "f4") for name in [*names, *more]])
    for name in names:
        rows[name] = old[name]
    for name, values in more.items():
        rows[name] = values
    path.unlink()
    PlyData([PlyElement.describe(rows, "vertex")]).write(path)
    return path


def test_flat_gaussians(splats, tmp_path, capsys):
    """Two scales: a thin third axis, told by inspect, drawn as surfels without being asked."""
    scene = splats(40, degree=0)
    path = trainers(tmp_path / "a.ply", scene, ("scale_2",))
    g = io.load(path).gaussians
    torch.testing.assert_close(g.scales[:, :2], scene.gaussians.scales[:, :2], atol=0, rtol=1e-5)
    assert (g.scales[:, 2] < 0.01 * g.scales[:, :2].amin(1)).all() and inspect(path)["gaussians"]["flat"]
    call = ["render", str(path), "--orbit", "--size", "48x32", "--backend", "torch", "--quiet", "-o"]
    assert main([*call, str(tmp_path / "flat.png")]) == 0 and main([*call, str(tmp_path / "asked.png"), "--surfels"]) == 0
    assert (tmp_path / "flat.png").read_bytes() == (tmp_path / "asked.png").read_bytes()


def test_filters_of_mip_splatting_are_fused(splats, tmp_path):
    """Wider by the filter, and as much light in all: opacity times volume is that of equation 9."""
    scene = splats(40, degree=0)
    width = np.random.default_rng(0).uniform(0, 0.1, 40).astype(np.float32)
    path = trainers(tmp_path / "a.ply", scene, filter_3D=width)
    g, old = io.load(path).gaussians, scene.gaussians
    torch.testing.assert_close(g.scales, (old.scales**2 + torch.from_numpy(width)[:, None] ** 2).sqrt(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(g.opacities * g.scales.prod(1), old.opacities * old.scales.prod(1), atol=1e-7, rtol=1e-3)
    assert inspect(path)["notes"] == []


def test_outliers_are_dropped_on_wish(splats, tmp_path, capsys):
    scene = splats(300, degree=0)
    means = scene.gaussians.means.clone()
    means[5:8] = 1e8
    io.save(replace(scene, gaussians=replace(scene.gaussians, means=means)), tmp_path / "a.ply")
    assert len(io.load(tmp_path / "a.ply").gaussians) == 300 and len(io.load(tmp_path / "a.ply", drop_outliers=True).gaussians) == 297
    assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.compressed.ply"), "--json"]) == 0
    assert "--drop-outliers leaves out" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.compressed.ply"), "--drop-outliers", "--json"]) == 0
    said = capsys.readouterr().out
    assert "3 of 300 Gaussians are outliers and are left out" in said and "finer than the steps" not in said


def test_repair_where_files_are_read(splats, tmp_path, capsys):
    path = trainers(tmp_path / "a.ply", splats(60, degree=0))
    ply = PlyData.read(path, mmap=False)
    ply["vertex"]["x"][3] = np.nan
    ply.write(path)
    for call in (["convert", str(path), str(tmp_path / "b.splat")], ["render", str(path), "-o", str(tmp_path / "c.png"), "--size", "32x32"]):
        assert main([*call, "--quiet"]) == 1
        said = capsys.readouterr().err
        assert "1 of 60 Gaussians" in said and "--repair leaves them out" in said and "repair=True" not in said
        assert main([*call, "--quiet", "--repair"]) == 0


@pytest.mark.parametrize("encoding", ["binary", "big-endian", "ascii"])
@pytest.mark.parametrize("kind", ["splats", "points"])
def test_encodings_of_ply(splats, tmp_path, encoding, kind):
    io.save(splats(20, degree=1), tmp_path / "a.npz")
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.ply"), "--encoding", encoding, "--kind", kind]) == 0
    assert PlyData.read(tmp_path / "b.ply").text == (encoding == "ascii")
    back, old = io.load(tmp_path / "b.ply"), splats(20, degree=1).gaussians
    places = back.gaussians.means if kind == "splats" else back.tracks.points
    torch.testing.assert_close(places, old.means)


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".png", ".jpeg"])
def test_a_pictures_name_means_one_picture(splats, tmp_path, ending, capsys):
    io.save(splats(50, degree=0), tmp_path / "a.ply")
    target = tmp_path / f"x{ending}"
    assert main(["render", str(tmp_path / "a.ply"), "-o", str(target), "--size", "48x32", "--backend", "torch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 1
    picture = cv2.imread(str(target))
    assert picture.shape == (32, 48, 3) and picture.std() > 3


def test_transparent_pictures(splats, tmp_path, capsys):
    """Over any background they are what is drawn on it."""
    io.save(splats(50, degree=0), tmp_path / "a.ply")
    call = ["render", str(tmp_path / "a.ply"), "--size", "48x32", "--backend", "torch", "--quiet", "--background"]
    assert main([*call, "transparent", "-o", str(tmp_path / "t.png")]) == 0 and main([*call, "1,1,1", "-o", str(tmp_path / "w.png")]) == 0
    clear, white = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED).astype(float) for name in ("t.png", "w.png"))
    assert clear.shape == (32, 48, 4) and clear[..., 3].min() < 50 < clear[..., 3].max()
    alpha = clear[..., 3:] / 255
    assert np.abs(clear[..., :3] * alpha + 255 * (1 - alpha) - white).mean() < 1
    assert main([*call, "transparent", "-o", str(tmp_path / "t.mp4")]) == 1 and "cannot be transparent" in capsys.readouterr().err


def test_mov(splats, tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    io.save(splats(20, degree=0), tmp_path / "a.ply")
    assert main(["render", str(tmp_path / "a.ply"), "-o", str(tmp_path / "a.mov"), "--size", "32x32", "--frames", "3", "--quiet"]) == 0
    assert (tmp_path / "a.mov").read_bytes()[4:12] in (b"ftypqt  ",)


def test_fuzzed_files_of_every_format():
    """A few thousand of the inputs of fuzz.py; longer runs are made by hand."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).with_name("fuzz.py"))
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    said: list[str] = []
    assert fuzz.fuzz(4000, 1, said.append) == 0, said
