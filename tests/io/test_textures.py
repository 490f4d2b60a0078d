"""Textured meshes: nothing lost in files, other programs see the same colours, strange and broken files are refused or told of."""

import io as streams
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import recon.io as io
from recon.errors import FileError, ReconError
from recon.io.textures import FREE_PIXELS, sample_texture, vertex_colors
from recon.scene import Mesh, Scene

BOTH_WAYS = ["a.obj", "my scene.obj", "a.glb", "a.gltf", "a.npz"]
SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def picture(color: tuple[int, int, int], side: int = 4, kind: str = "PNG") -> bytes:
    stream = streams.BytesIO()
    Image.new("RGB", (side, side), color).save(stream, kind)
    return stream.getvalue()


def same(ours: Mesh, wanted: Mesh) -> None:
    for name in ("vertices", "faces", "uvs", "texture"):
        torch.testing.assert_close(getattr(ours, name), getattr(wanted, name), atol=0, rtol=0)


@pytest.mark.parametrize("axes", [None, "unity", "z-up"])
@pytest.mark.parametrize("name", BOTH_WAYS)
def test_nothing_is_lost(textured, tmp_path, name, axes):
    if name == "a.npz" and axes:
        pytest.skip("npz holds a scene as it is")
    io.save(textured, tmp_path / name, axes=axes)
    back = io.load(tmp_path / name, axes=axes).mesh
    same(back, textured.mesh)
    assert back.colors is None
    torch.testing.assert_close(back.normals, textured.mesh.normals, atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(BOTH_WAYS))
def test_any_uvs_any_texture(tmp_path, data, name):
    """Random places within 0..1 at every scale down to 1e-6, and beyond it, come back with all their bits; pictures with all 8."""
    seed, height, width = data.draw(st.integers(0, 1 << 30)), data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    random = np.random.default_rng(seed)
    uvs = (random.random((30, 2)) * 10.0 ** -random.integers(0, 6, (30, 1))).astype(np.float32)
    uvs[:4] = [[0, 0], [1, 1], [-0.25, 3.5], [0, 1]]
    texture = (random.integers(0, 256, (height, width, 3)) / 255).astype(np.float32)
    mesh = Mesh(vertices=random.normal(size=(30, 3)), faces=random.permutation(30).reshape(10, 3), uvs=uvs, texture=texture)
    from recon.io.content import no_cameras

    io.save(Scene(cameras=no_cameras(), mesh=mesh), tmp_path / name)
    same(io.load(tmp_path / name).mesh, mesh)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_colours_beside_a_texture_are_kept(textured, sphere, tmp_path, name):
    both = replace(textured, mesh=replace(textured.mesh, colors=sphere.mesh.colors))
    io.save(both, tmp_path / name)
    back = io.load(tmp_path / name).mesh
    same(back, both.mesh)
    torch.testing.assert_close(back.colors, sphere.mesh.colors, atol=1e-6, rtol=1e-5)


def test_ply_and_points_get_the_textures_colours(textured, tmp_path):
    wanted = torch.cat([textured.mesh.uvs, torch.full((len(textured.mesh.vertices), 1), 0.25)], 1)
    torch.testing.assert_close(vertex_colors(textured.mesh), wanted, atol=2.1 / 255, rtol=0)
    io.save(textured, tmp_path / "a.mesh.ply")
    torch.testing.assert_close(io.load(tmp_path / "a.mesh.ply").mesh.colors, wanted, atol=3 / 255, rtol=0)
    io.save(textured, tmp_path / "points.glb")
    torch.testing.assert_close(io.load(tmp_path / "points.glb").tracks.colors, wanted, atol=3 / 255, rtol=0)


def test_sampling_repeats_and_mixes():
    texture = torch.tensor([[0.0, 1.0]])[..., None].expand(1, 2, 3)
    uvs = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.0], [1.25, -3.0], [0.0, 0.5], [0.375, 0.5]])
    assert sample_texture(texture, uvs)[:, 0].tolist() == [0, 1, 0.5, 0, 0.5, 0.25]


@pytest.mark.parametrize("name", ["a.obj", "my scene.obj", "a.glb", "a.gltf"])
def test_trimesh_sees_the_same_colours(textured, tmp_path, name):
    import trimesh

    io.save(textured, tmp_path / name)
    theirs = trimesh.load(tmp_path / name, process=False)
    theirs = theirs if isinstance(theirs, trimesh.Trimesh) else next(iter(theirs.geometry.values()))
    uvs = textured.mesh.uvs.numpy()
    assert np.allclose(theirs.visual.uv, np.c_[uvs[:, 0], 1 - uvs[:, 1]], atol=1e-6)  # trimesh counts v upwards
    colors = theirs.visual.to_color().vertex_colors / 255  # of the nearest pixel
    assert np.abs(colors[:, 0] - uvs[:, 0]).max() < 1 / 96 + 2 / 255 and np.abs(colors[:, 1] - uvs[:, 1]).max() < 1 / 64 + 2 / 255


@pytest.mark.parametrize("name", ["a.obj", "a.glb"])
def test_open3d_sees_the_same_colours(textured, tmp_path, name):
    open3d = pytest.importorskip("open3d", reason="Open3D does not load here", exc_type=ImportError)
    io.save(textured, tmp_path / name)
    theirs = open3d.io.read_triangle_mesh(str(tmp_path / name), True)
    pixels, uvs = np.asarray(theirs.textures[0]), np.asarray(theirs.triangle_uvs)
    assert pixels.shape == (64, 96, 3)
    colors = pixels[(uvs[:, 1] * 64).astype(int), (uvs[:, 0] * 96).astype(int)] / 255
    wanted = textured.mesh.uvs[textured.mesh.faces.reshape(-1)].numpy()
    assert np.abs(colors[:, 0] - wanted[:, 0]).max() < 1 / 96 and np.abs(colors[:, 1] - wanted[:, 1]).max() < 1 / 64


@pytest.mark.parametrize("suffix", ["usda", "usdc", "usdz"])
def test_usd_shows_the_texture(textured, tmp_path, suffix):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Ar, Usd, UsdGeom, UsdShade, UsdValidation

    io.save(textured, tmp_path / f"my a.{suffix}")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != ".recon") == [f"my a.{suffix}", *(["my a_texture.png"] if suffix != "usdz" else [])]
    stage = Usd.Stage.Open(str(tmp_path / f"my a.{suffix}"))
    prim = stage.GetPrimAtPath("/scene/mesh")
    st = np.array(UsdGeom.PrimvarsAPI(prim).GetPrimvar("st").Get())
    torch.testing.assert_close(torch.from_numpy(st * [1, -1] + [0, 1]).float(), textured.mesh.uvs, atol=6e-8, rtol=0)
    surface = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0].ComputeSurfaceSource()[0]
    image = UsdShade.Shader(surface.GetInput("diffuseColor").GetConnectedSource()[0].GetPrim())
    assert (surface.GetIdAttr().Get(), image.GetIdAttr().Get()) == ("UsdPreviewSurface", "UsdUVTexture")
    asset = image.GetInput("file").Get()
    content = bytes(Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath)).GetBuffer())
    pixels = np.asarray(Image.open(streams.BytesIO(content)))
    assert np.array_equal(pixels, (textured.mesh.texture * 255).round().byte().numpy())
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    assert [error.GetMessage() for error in context.Validate(stage)] == []


def test_corners_with_several_uvs_split_vertices(tmp_path):
    (tmp_path / "red.png").write_bytes(picture((255, 0, 0)))
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -clamp on -bm 1.0 red.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{SQUARE}usemtl m\nf 1/1 2/2 3/3\nf -4/1 -2/2 -1/-1\n")
    mesh = io.load(tmp_path / "a.obj").mesh
    corners = lambda values: values[mesh.faces].reshape(-1, values.shape[1]).tolist()
    assert len(mesh.vertices) == 5 and mesh.vertices[:4].tolist() == [[0, 0, 0], [1, 0, 0], [1, -1, 0], [0, -1, 0]]
    assert corners(mesh.vertices) == [[0, 0, 0], [1, 0, 0], [1, -1, 0], [0, 0, 0], [1, -1, 0], [0, -1, 0]]
    assert corners(mesh.uvs) == [[0, 1], [1, 1], [1, 0], [0, 1], [1, 1], [0, 0]]
    assert mesh.texture.reshape(-1, 3).unique(dim=0).tolist() == [[1, 0, 0]]


def test_polygons_and_names_of_others(tmp_path):
    """Quads alone, faces without uvs, a UTF-8 name with blanks, and MTL files of Windows."""
    (tmp_path / "à b.jpg").write_bytes(picture((0, 255, 0), 16, "JPEG"))
    (tmp_path / "mat à.mtl").write_bytes("\ufeff# made\r\nnewmtl grün 1\r\n\tmap_Kd -s 1 1 1 à b.jpg\r\n".encode())
    (tmp_path / "a.obj").write_bytes(f"mtllib mat à.mtl\r\n{SQUARE}usemtl grün 1\r\nf 1/1 2/2 3/3 4/4\r\nf 4/4 3/3 2/2 1/1\r\n".encode())
    mesh = io.load(tmp_path / "a.obj").mesh
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [3, 2, 1], [3, 1, 0]] and mesh.uvs.tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]
    torch.testing.assert_close(mesh.texture, torch.tensor([0.0, 1, 0]).expand(16, 16, 3), atol=0.01, rtol=0)
    (tmp_path / "a.obj").write_text(f"mtllib mat à.mtl\n{SQUARE}usemtl grün 1\nf 1 2 3 4\n", encoding="utf-8")
    assert io.load(tmp_path / "a.obj").mesh.texture is None
    false = {"f 1/9 2/2 3/3": "uv number 9 of 4", "f 0 1 2": "counted from 1", "f 1 2 9": "wanted 0 to 3", "f -9 1 2": "wanted 0 to 3"}
    for line, word in false.items():
        (tmp_path / "a.obj").write_text(f"mtllib mat à.mtl\n{SQUARE}usemtl grün 1\n{line}\n", encoding="utf-8")
        with pytest.raises(FileError, match=word):
            io.load(tmp_path / "a.obj")


def test_several_textures_become_colours(tmp_path, caplog):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "red.png").write_bytes(picture((255, 0, 0)))
    (tmp_path / "blue.jpg").write_bytes(picture((0, 0, 255), 16, "JPEG"))
    (tmp_path / "a.mtl").write_text("newmtl r\nmap_Kd maps\\red.png\nnewmtl b\nmap_Kd blue.jpg\nnewmtl again\nmap_Kd ./maps/red.png\n")
    text = f"mtllib a.mtl\n{SQUARE}usemtl r\nf 1/1 2/2 3/3\nusemtl %s\nf 1/1 3/3 4/4\n"
    (tmp_path / "a.obj").write_text(text % "b")
    mesh = io.load(tmp_path / "a.obj").mesh
    assert "different textures" in caplog.text and mesh.texture is None and len(mesh.vertices) == 6
    torch.testing.assert_close(mesh.colors[mesh.faces[0]], torch.tensor([[1.0, 0, 0]] * 3), atol=0, rtol=0)
    torch.testing.assert_close(mesh.colors[mesh.faces[1]], torch.tensor([[0.0, 0, 1]] * 3), atol=0.02, rtol=0)
    (tmp_path / "a.obj").write_text(text % "again")
    mesh = io.load(tmp_path / "a.obj").mesh
    assert mesh.texture is not None and len(mesh.vertices) == 4


def test_a_texture_that_is_not_there_is_a_warning(textured, sphere, tmp_path, caplog):
    scene = replace(textured, mesh=replace(textured.mesh, colors=sphere.mesh.colors))
    io.save(scene, tmp_path / "a.obj")
    (tmp_path / "a_texture.png").unlink()
    mesh = io.load(tmp_path / "a.obj").mesh
    assert "a_texture.png of material textured is not there" in caplog.text and mesh.uvs is None
    assert torch.equal(mesh.colors, sphere.mesh.colors)
    (tmp_path / "a.mtl").unlink()
    assert io.load(tmp_path / "a.obj").mesh.uvs is None and "a.mtl are not there" in caplog.text


@pytest.mark.parametrize("evil", ["../secret.png", "/etc/passwd", "a/../../secret.png", "..\\secret.png", "C:\\secret.png"])
def test_names_that_lead_out(tmp_path, evil):
    (tmp_path / "secret.png").write_bytes(picture((1, 2, 3)))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mtl").write_text(f"newmtl m\nmap_Kd {evil}\n")
    for library in ("a.mtl", evil.replace(".png", ".mtl")):
        (folder / "a.obj").write_text(f"mtllib {library}\n{SQUARE}usemtl m\nf 1/1 2/2 3/3\n")
        with pytest.raises(FileError, match="outside its folder"):
            io.load(folder / "a.obj")
    (folder / "a.gltf").write_text(json.dumps(gltf_with({"uri": evil})))
    with pytest.raises(FileError, match="outside its folder"):
        io.load(folder / "a.gltf")


def gltf_with(image: dict, **material: object) -> dict:
    """A triangle at places that are also its uvs, with `image` as its base colour."""
    import base64

    data = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) + struct.pack("<6f", 0, 0, 1, 0, 0, 1)
    return {
        "asset": {"version": "2.0"}, "nodes": [{"mesh": 0}], "images": [image], "textures": [{"source": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, **material}}],
        "buffers": [{"byteLength": 60, "uri": f"data:;base64,{base64.b64encode(data).decode()}"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 24}],
        "accessors": [{"bufferView": i, "componentType": 5126, "count": 3, "type": f"VEC{3 - i}"} for i in range(2)],
    }  # fmt: skip


def test_other_programs_gltf(tmp_path, caplog):
    """A picture beside the file, tinted by the material; uvs moved by KHR_texture_transform; a KTX2 picture is a warning."""
    (tmp_path / "white.jpg").write_bytes(picture((255, 255, 255), 16, "JPEG"))
    document = gltf_with({"uri": "white.jpg"}, baseColorFactor=[0.5, 1, 0, 1])
    info = document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    info["extensions"] = {"KHR_texture_transform": {"scale": [0.5, 2], "offset": [0.25, 0]}}
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    mesh = io.load(tmp_path / "a.gltf").mesh
    assert mesh.uvs.tolist() == [[0.25, 0], [0.75, 0], [0.25, 2]]
    torch.testing.assert_close(mesh.texture[0, 0], torch.tensor([0.7354, 1, 0]), atol=1e-3, rtol=0)  # half the light
    document["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": 0}}}]
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    assert io.load(tmp_path / "a.gltf").mesh.texture is None and "no picture that is read" in caplog.text


BROKEN = {
    "cut": picture((9, 9, 9), 64)[:-30], "no picture": b"hello", "empty": b"", "gif": b"GIF89a\1\0\1\0\0\0\0;", "bomb": picture((0, 0, 0), 8000)
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures(tmp_path, name, caplog):
    """What cannot be decoded is left out with a warning; what would take all memory is refused."""
    assert len(BROKEN[name]) < FREE_PIXELS // 64
    (tmp_path / "t.png").write_bytes(BROKEN[name])
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd t.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{SQUARE}usemtl m\nf 1/1 2/2 3/3\n")
    (tmp_path / "a.gltf").write_text(json.dumps(gltf_with({"uri": "t.png"})))
    for file in ("a.obj", "a.gltf"):
        if name != "bomb":
            caplog.clear()
            assert io.load(tmp_path / file).mesh.texture is None
            assert f"{file}: has a broken texture" in caplog.text and "_io" not in caplog.text
            continue
        with pytest.raises(FileError, match=f"{file}.*texture") as caught:
            io.load(tmp_path / file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.glb", "a.gltf", "a.obj", "a.mtl", "a_texture.png"])
def test_fuzzed_files(textured, tmp_path, name):
    """Damaged bytes of any of the files give a scene or a FileError that names the file."""
    small = replace(textured, mesh=replace(textured.mesh, texture=textured.mesh.texture[:6, :5]))
    scene_file = tmp_path / (name if name in ("a.glb", "a.gltf") else "a.obj")
    io.save(small, scene_file)
    good = (tmp_path / name).read_bytes()
    start = good.find(b'{"asset') if name == "a.glb" else 0

    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def damage(data) -> None:
        content = bytearray(good)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(start, min(len(content), 3000) - 1) | st.integers(0, len(content) - 1))
            word = data.draw(st.binary(min_size=0, max_size=6) | st.sampled_from([b"-1", b"9" * 12, b"null"]))
            content[at : at + data.draw(st.integers(0, 4))] = word
        (tmp_path / name).write_bytes(content if data.draw(st.booleans()) else content[: data.draw(st.integers(0, len(content)))])
        try:
            io.load(scene_file)
        except FileError as error:
            assert scene_file.name in str(error)

    damage()


@pytest.mark.parametrize("name", ["a.obj", "a.usda", "a.usdz", "a.glb"])
def test_a_failed_save_leaves_what_was_there(textured, tmp_path, name, monkeypatch):
    if "usd" in name:
        pytest.importorskip("pxr", reason="usd-core is not installed")
    io.save(replace(textured, mesh=replace(textured.mesh, texture=textured.mesh.texture / 2)), tmp_path / name)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        io.save(textured, tmp_path / name)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_the_obj_appears_last(textured, tmp_path, monkeypatch):
    names, replace_file = [], os.replace

    def record(source: Path, target: Path) -> None:
        names.append(Path(target).name)
        names.remove(".recon") if ".recon" in names else None
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", record)
    io.save(textured, tmp_path / "a.obj")
    assert names == ["a_texture.png", "a.mtl", "a.obj"]


def test_what_cannot_be_saved(textured, tmp_path, monkeypatch):
    monkeypatch.setattr("recon.io.textures.MAX_PIXELS", 97 * 64 - 1)
    bad = lambda **parts: replace(textured, mesh=replace(textured.mesh, **parts))
    uvs, texture = textured.mesh.uvs.clone(), textured.mesh.texture.clone()
    uvs[3, 1], texture[0, 0, 0] = float("nan"), float("inf")
    for scene, name, word in (
        (bad(uvs=uvs), "a.glb", "uvs are not all finite"), (bad(texture=texture), "a.obj", "texture are not all finite"),
        (bad(texture=torch.zeros(64, 97, 3)), "a.glb", "97 x 64 pixels"), (textured, "a\x07b.obj", "signs"),
        (textured, "C:a.obj", "outside its folder"),
    ):  # fmt: skip
        with pytest.raises(ReconError, match=word):
            io.save(scene, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_inspect_tells_of_the_texture(textured, tmp_path):
    from recon.io.inspect import inspect

    io.save(textured, tmp_path / "a.obj")
    facts = inspect(tmp_path / "a.obj")
    assert facts["mesh"]["colors"] == "texture of 96 x 64 pixels" and facts["problems"] == []
