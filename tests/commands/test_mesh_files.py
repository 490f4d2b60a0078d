"""`recon mesh` from a PLY of Gaussians and a file of cameras to every format: textured, as bright as the splats, read by other programs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import recon
from recon.cli import main
from recon.io.content import no_cameras
from recon.meshes.texture import draw_mesh
from recon.scene import Cameras, Gaussians, Mesh, Scene

sys.path[:0] = [str(Path(__file__).parent.parent / folder) for folder in ("meshes", "io")]
from test_oracles import complaints  # noqa: E402  # pyright: ignore[reportMissingImports]
from texture_scenes import around  # noqa: E402  # pyright: ignore[reportMissingImports]

COUNT, LENGTH = 9000, 0.5


def ball() -> Gaussians:
    """Overlapping Gaussians on the unit sphere, coloured by their place."""
    index = torch.arange(COUNT) + 0.5
    z, angle = 1 - 2 * index / COUNT, index * torch.pi * (1 + 5**0.5)
    ring = (1 - z * z).sqrt()
    means = torch.stack([ring * angle.cos(), z, ring * angle.sin()], 1)
    sh = ((0.5 + 0.35 * torch.sin(3 * means)) - 0.5)[:, None] / 0.28209479
    identity = torch.tensor([[1.0, 0, 0, 0]]).repeat(COUNT, 1)
    return Gaussians(means=means, quats=identity, scales=torch.full((COUNT, 3), 0.02), opacities=torch.full((COUNT,), 0.95), sh=sh)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """scene.ply and cameras.json."""
    from recon.meshes.with_open3d import open3d_problem

    if problem := open3d_problem():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("files")
    recon.save(Scene(cameras=no_cameras(), gaussians=ball()), folder / "scene.ply")
    recon.save(Scene(cameras=around(6, 128)), folder / "cameras.json")
    return folder


@pytest.fixture(scope="module")
def made(files, tmp_path_factory) -> dict[str, Path]:
    """The same mesh in every format; its known length: the ball's diameter is LENGTH."""
    folder = tmp_path_factory.mktemp("made")
    out = {}
    for ending in ("glb", "obj", "usdz", "ply"):
        out[ending] = folder / f"ball.{ending}"
        call = ["--cameras", str(files / "cameras.json"), "--scale-ref", str(LENGTH), "--between", "-1,0,0", "1,0,0", "--faces", "4000"]
        assert main(["mesh", str(files / "scene.ply"), "-o", str(out[ending]), *call, "--texture-size", "512", "--quiet"]) == 0
    return out


def mesh_of(path: Path) -> Mesh:
    mesh = recon.load(path).mesh
    assert mesh is not None
    return mesh


def test_the_glb_is_unlit_valid_and_of_the_known_size(made):
    assert complaints(made["glb"]) == []
    content = made["glb"].read_bytes()
    document = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    assert "KHR_materials_unlit" in document["materials"][0]["extensions"] and document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert "baseColorTexture" in document["materials"][0]["pbrMetallicRoughness"]
    assert "COLOR_0" not in document["meshes"][0]["primitives"][0]["attributes"]  # it would be multiplied in
    mesh = mesh_of(made["glb"])
    assert len(mesh.faces) > 1500 and mesh.texture is not None and mesh.normals is not None
    assert float(mesh.vertices.norm(dim=1).mean()) == pytest.approx(LENGTH / 2, rel=0.02)


def test_the_glb_is_as_bright_as_the_splats(made):
    cameras: Cameras = around(6, 128)
    splats = recon.render(ball(), cameras, backend="cpu")
    drawn = draw_mesh(mesh_of(made["glb"]), cameras.scaled(LENGTH / 2))
    both = (drawn.alpha > 0.99) & (splats.alpha > 0.99)
    assert float(both.float().mean()) > 0.3
    for a, b, m in zip(drawn.color, splats.color, both, strict=True):
        assert float(a[m].mean()) == pytest.approx(float(b[m].mean()), rel=0.03)
        assert float((a[m] - b[m]).abs().mean()) < 0.03  # and the same picture, not only as bright


@pytest.mark.parametrize("ending", ["glb", "obj"])
def test_trimesh_and_open3d_load_it_with_its_texture(made, ending):
    import open3d
    import trimesh

    theirs = trimesh.load(made[ending], process=False)
    theirs = theirs if isinstance(theirs, trimesh.Trimesh) else next(iter(theirs.geometry.values()))
    picture = getattr(theirs.visual.material, "baseColorTexture", None) or theirs.visual.material.image
    assert len(theirs.faces) == len(mesh_of(made[ending]).faces) and np.asarray(picture).std() > 10 and len(theirs.visual.uv) == len(theirs.vertices)
    again = open3d.io.read_triangle_mesh(str(made[ending]), True)
    assert len(again.triangles) == len(theirs.faces) and again.has_triangle_uvs() and np.asarray(again.textures[0]).std() > 10


def test_obj_brings_its_material_and_picture(made):
    folder = made["obj"].parent
    assert "mtllib ball.mtl" in made["obj"].read_text() and "map_Kd ball_texture.png" in (folder / "ball.mtl").read_text()
    assert (folder / "ball_texture.png").read_bytes()[:4] == b"\x89PNG"


def test_usd_core_loads_it_with_its_texture_in_metres(made):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom, UsdShade, UsdValidation

    stage = Usd.Stage.Open(str(made["usdz"]))
    prim = stage.GetPrimAtPath("/scene/mesh")
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1 and UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0]
    places = np.array(UsdGeom.Mesh(prim).GetPointsAttr().Get())
    assert np.linalg.norm(places, axis=1).mean() == pytest.approx(LENGTH / 2, rel=0.02)
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    assert [error.GetMessage() for error in context.Validate(stage)] == []


def test_ply_has_the_colours_at_its_vertices(made):
    mesh = mesh_of(made["ply"])
    wanted = 0.5 + 0.35 * torch.sin(3 * mesh.vertices / (LENGTH / 2))
    seen = mesh.vertices[:, 1].abs() < 0.6 * LENGTH / 2
    assert mesh.colors is not None and float((mesh.colors - wanted).abs()[seen].mean()) < 0.03


def test_cameras_need_gaussians(files, tmp_path, capsys):
    recon.save(Scene(cameras=no_cameras(), mesh=Mesh(vertices=torch.rand(4, 3), faces=[[0, 1, 2]])), tmp_path / "mesh.obj")
    call = ["mesh", str(tmp_path / "mesh.obj"), "--cameras", str(files / "cameras.json"), "-o", str(tmp_path / "out" / "a.glb"), "--quiet"]
    assert main(call) == 1
    assert "--cameras look at Gaussians" in capsys.readouterr().err and not (tmp_path / "out").exists()


def broken(name: str) -> Scene:
    g = ball()[torch.arange(300)]
    few = {"empty": g[torch.arange(0)], "single": g[torch.arange(1)], "faint": replace(g, opacities=g.opacities * 0.01)}
    return Scene(cameras=no_cameras(), gaussians=few.get(name, replace(g, means=torch.where(torch.arange(300)[:, None] == 7, torch.nan, g.means))))


@pytest.mark.parametrize(
    ("name", "message"),
    [("empty", "holds nothing to make a mesh of"), ("single", "1 Gaussians are too few for a surface"), ("faint", "sees anything solid"),
     ("NaN", "not finite")],
)  # fmt: skip
def test_files_that_no_mesh_can_be_made_of_leave_nothing(files, tmp_path, capsys, name, message):
    source, out = tmp_path / "scene.ply", tmp_path / "out"
    save_raw(broken(name), source)
    code = main(["mesh", str(source), "--cameras", str(files / "cameras.json"), "-o", str(out / "a.glb"), "--quiet"])
    assert code == 1 and message in capsys.readouterr().err and not out.exists()


def save_raw(scene: Scene, path: Path) -> None:
    """A splat PLY with whatever numbers, as a trainer that went wrong leaves it."""
    from plyfile import PlyData, PlyElement

    g = scene.gaussians
    assert g is not None
    columns = torch.cat([g.means, g.sh[:, 0], torch.logit(g.opacities)[:, None], g.scales.log(), g.quats], 1).numpy().astype(np.float32)
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4))]
    rows = np.array([tuple(row) for row in columns], [(name, "f4") for name in names])
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))


def test_without_open3d_the_call_says_what_to_install_and_writes_nothing(files, tmp_path, capsys, monkeypatch):
    from recon.meshes import with_open3d

    monkeypatch.delitem(with_open3d.sys.modules, "open3d", raising=False)
    monkeypatch.setattr(with_open3d, "has_open3d", lambda: False)
    assert main(["mesh", str(files / "scene.ply"), "-o", str(tmp_path / "a.glb"), "--quiet"]) == 1
    assert "pip install open3d" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_doctor_shows_that_open3d_does_not_load(capsys, monkeypatch):
    from recon.meshes import with_open3d

    monkeypatch.setattr(with_open3d, "open3d_problem", lambda: "libusb-1.0.so.0 is missing: apt-get install libusb-1.0-0")
    main(["doctor"])
    shown = capsys.readouterr().out
    assert "Open3D loads" in shown and "apt-get install libusb-1.0-0" in shown
