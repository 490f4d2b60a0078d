"""Independent programs read our files and give the same values, and we read theirs."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import recon.io as io
from recon.geometry import quats_to_matrices
from recon.io.packing import morton_order
from recon.scene import Gaussians

NPM = Path(os.environ.get("RECON_ORACLES", Path(__file__).parents[2] / "tools" / "oracles"))
KHR_TURN = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))  # splat-transform's y-up world against ours: half a turn about y


def npm_package(name: str) -> Path:
    """The folder of an npm package at the version of tools/oracles/package-lock.json; skips where `make oracles` has not put it there."""
    folder = NPM / "node_modules" / name
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    if not folder.is_dir():
        pytest.skip(f"{name} is not in {NPM}: make oracles")
    return folder


def splat_transform(source: Path, target: Path) -> None:
    program = npm_package("@playcanvas/splat-transform") / "bin" / "cli.mjs"
    done = subprocess.run(["node", str(program), "-q", "-w", str(source), str(target)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def forge(data: bytes, source: str, target: str, **options) -> bytes:
    gaussforge = pytest.importorskip("gaussforge", reason="gaussforge is not installed")
    result = gaussforge.GaussForge().convert(data, source, target, **options)
    assert "data" in result, result
    return result["data"]


def covariances(g: Gaussians) -> torch.Tensor:
    half = quats_to_matrices(g.quats) * g.scales[:, None]
    return half @ half.transpose(1, 2)


def same(a: Gaussians, b: Gaussians, *, opacity: float = 2e-6, shape: float = 2e-4) -> None:
    """Equal up to float rounding; rotations are compared by the shapes that they give."""
    assert len(a) == len(b) and a.sh.shape == b.sh.shape
    torch.testing.assert_close(a.means, b.means, atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(a.scales, b.scales, atol=1e-9, rtol=1e-5)
    torch.testing.assert_close(a.opacities, b.opacities, atol=opacity, rtol=0)
    torch.testing.assert_close(a.sh, b.sh, atol=2e-6, rtol=1e-5)
    size = a.scales.amax(1).square()[:, None, None]
    torch.testing.assert_close(covariances(a) / size, covariances(b) / size, atol=shape, rtol=0)


OURS = {  # name: (gaussforge's name or None, options, how far gaussforge's opacity is off, how far a decoder may be off in shape)
    "a.ply": ("ply", {}, 2e-6, 2e-4), "b.ply": ("ply", {"sh_degree": 1}, 2e-6, 2e-4), "a.compressed.ply": ("compressed.ply", {}, 1.1e-3, 2e-4),
    "a.splat": ("splat", {}, 5e-5, 0.02), "a.spz": ("spz", {"spz_version": 2}, 2e-6, 2e-4), "b.spz": ("spz", {"spz_version": 3}, 2e-6, 2e-4),
    "c.spz": ("spz", {"spz_version": 4}, 2e-6, 2e-4), "a.sog": ("sog", {}, 2e-6, 2e-4), "meta.json": (None, {}, 0, 2e-4),
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_gaussforge_reads_ours(splats, tmp_path, name):
    theirs_name, options, opacity, _ = OURS[name]
    if theirs_name is None:
        pytest.skip("gaussforge reads no loose SOG")
    io.save(splats(3000), tmp_path / name, axes="opencv", **options)  # gaussforge leaves an spz's axes as they are
    (tmp_path / "theirs.ply").write_bytes(forge((tmp_path / name).read_bytes(), theirs_name, "ply"))
    same(io.load(tmp_path / name, axes="opencv").gaussians, io.load(tmp_path / "theirs.ply").gaussians, opacity=opacity)


@pytest.mark.parametrize("name", OURS)
def test_splat_transform_reads_ours(splats, tmp_path, name):
    _, options, _, shape = OURS[name]
    io.save(splats(3000), tmp_path / name, **options)
    splat_transform(tmp_path / name, tmp_path / "theirs.ply")
    same(io.load(tmp_path / name).gaussians, io.load(tmp_path / "theirs.ply").gaussians, shape=shape)


@pytest.mark.parametrize("name", ["splat", "compressed.ply", "spz", "sog", "ply"])
def test_we_read_gaussforge(splats, tmp_path, name):
    io.save(splats(3000), tmp_path / "ours.ply")
    (tmp_path / f"a.{name}").write_bytes(forge((tmp_path / "ours.ply").read_bytes(), "ply", name))
    (tmp_path / "theirs.ply").write_bytes(forge((tmp_path / f"a.{name}").read_bytes(), name, "ply"))
    ours = io.load(tmp_path / f"a.{name}", axes="opencv").gaussians
    same(ours, io.load(tmp_path / "theirs.ply").gaussians, opacity=1.1e-3 if name == "compressed.ply" else 5e-5)


def test_ksplat_of_gaussforge(splats, tmp_path):
    """Read by splat-transform, as gaussforge itself turns the order of the harmonics on the way back."""
    io.save(splats(3000), tmp_path / "ours.ply")
    (tmp_path / "a.ksplat").write_bytes(forge((tmp_path / "ours.ply").read_bytes(), "ply", "ksplat"))
    splat_transform(tmp_path / "a.ksplat", tmp_path / "theirs.ply")
    same(io.load(tmp_path / "a.ksplat").gaussians, io.load(tmp_path / "theirs.ply").gaussians)


@pytest.mark.parametrize("name", ["a.compressed.ply", "a.spz"])
def test_we_read_splat_transform(splats, tmp_path, name):
    io.save(splats(3000), tmp_path / "ours.ply")
    splat_transform(tmp_path / "ours.ply", tmp_path / name)
    splat_transform(tmp_path / name, tmp_path / "theirs.ply")
    same(io.load(tmp_path / name).gaussians, io.load(tmp_path / "theirs.ply").gaussians)


def test_gaussian_glb_of_splat_transform(splats, tmp_path):
    """Its y-up world is ours after half a turn about y; what it keeps of the Gaussians is the same."""
    from recon.io.axes import move

    scene = splats(3000)
    io.save(scene, tmp_path / "ours.ply")
    splat_transform(tmp_path / "ours.ply", tmp_path / "a.glb")
    same(move(io.load(tmp_path / "a.glb").gaussians, KHR_TURN), scene.gaussians)


@pytest.mark.parametrize("name", ["minimal.splat", "minimal-v2.spz", "minimal-v3.spz", "minimal-v4.spz", "minimal.ksplat"])
def test_fixtures(eval_data, tmp_path, name):
    source = eval_data / "splats" / "format_fixtures" / name
    splat_transform(source, tmp_path / "theirs.ply")
    same(io.load(source).gaussians, io.load(tmp_path / "theirs.ply").gaussians, shape=0.02 if name == "minimal.splat" else 2e-4)


@pytest.mark.parametrize("name", ["misc/biker.spz", "misc/biker.compressed.ply", "misc/truck.splat", "playbot/meta.json"])
def test_real_files(eval_data, tmp_path, name):
    splat_transform(eval_data / "splats" / name, tmp_path / "theirs.ply")
    same(io.load(eval_data / "splats" / name).gaussians, io.load(tmp_path / "theirs.ply").gaussians, shape=0.02)


def test_biker_twice(eval_data):
    """The same scene as spz and as compressed PLY lies in the same place."""
    a, b = (io.load(eval_data / "splats" / "misc" / f"biker.{name}").gaussians for name in ("spz", "compressed.ply"))
    assert len(a) == len(b)
    order_a, order_b = (torch.from_numpy(morton_order(g.means.numpy())) for g in (a, b))
    torch.testing.assert_close(a.means[order_a].mean(0), b.means[order_b].mean(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(covariances(a).mean(0), covariances(b).mean(0), rtol=0.05, atol=1e-6)


def complaints(path: Path) -> list[dict]:
    """Errors and warnings of Khronos' validator."""
    package = npm_package("gltf-validator")
    # the validator knows no attributes of extensions, so it calls their names invalid: only those names are forgiven
    script = (
        f"const v = require({json.dumps(str(package))}); const fs = require('fs');"
        "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])), {maxIssues: 1000})"
        ".then(r => console.log(JSON.stringify(r.issues.messages)));"
    )
    done = subprocess.run(["node", "-e", script, str(path)], capture_output=True, text=True, timeout=120, check=True)
    extension = "/attributes/KHR_gaussian_splatting:"
    return [m for m in json.loads(done.stdout) if m["severity"] < 2 and extension not in m["pointer"] and m["code"] != "UNSUPPORTED_EXTENSION"]


@pytest.mark.parametrize("suffix", ["glb", "gltf"])
@pytest.mark.parametrize("kind", ["splats", "points", "mesh", "texture", "texture and colours"])
def test_gltf_validator(splats, views, sphere, textured, tmp_path, kind, suffix):
    both = replace(textured, mesh=replace(textured.mesh, colors=sphere.mesh.colors))
    scene = {"splats": splats(), "points": views(), "mesh": sphere, "texture": textured, "texture and colours": both}[kind]
    io.save(scene, tmp_path / f"a.{suffix}", kind=kind if kind in ("splats", "points") else "mesh")
    assert complaints(tmp_path / f"a.{suffix}") == []


@pytest.mark.parametrize("count", [0, 1])
def test_gltf_validator_on_little(splats, tmp_path, count):
    io.save(splats(count), tmp_path / "a.glb")
    assert complaints(tmp_path / "a.glb") == []


@pytest.mark.parametrize("suffix", ["usda", "usdc", "usdz"])
def test_usd_opens_our_stages(splats, sphere, views, tmp_path, suffix):
    pxr = pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom, UsdVol

    assert pxr
    scene = splats(200)
    io.save(scene, tmp_path / f"s.{suffix}")
    stage = Usd.Stage.Open(str(tmp_path / f"s.{suffix}"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    prim = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim().GetChildren()[0])
    from recon.io.axes import move, world_matrix

    moved = move(scene.gaussians, world_matrix("y-up"))
    assert np.array_equal(np.array(prim.GetPositionsAttr().Get()), moved.means.numpy())
    assert np.array_equal(np.array(prim.GetScalesAttr().Get()), moved.scales.numpy())
    assert np.array_equal(np.array(prim.GetOpacitiesAttr().Get()), moved.opacities.numpy())
    orientation = prim.GetOrientationsAttr().Get()
    quats = torch.tensor([[q.GetReal(), *q.GetImaginary()] for q in orientation])
    torch.testing.assert_close(quats_to_matrices(quats), quats_to_matrices(moved.quats), atol=1e-6, rtol=0)
    sh = prim.GetRadianceSphericalHarmonicsCoefficientsAttr()
    assert np.array_equal(np.array(sh.Get()).reshape(200, 16, 3), moved.sh.numpy()) and sh.GetMetadata("elementSize") == 16

    io.save(sphere, tmp_path / f"m.{suffix}")
    stage = Usd.Stage.Open(str(tmp_path / f"m.{suffix}"))
    mesh = UsdGeom.Mesh(stage.GetDefaultPrim().GetChildren()[0])
    assert np.array_equal(np.array(mesh.GetPointsAttr().Get()) * [1, -1, -1], sphere.mesh.vertices.numpy())
    assert np.array_equal(np.array(mesh.GetFaceVertexIndicesAttr().Get()), sphere.mesh.faces.numpy().reshape(-1))
    io.save(views(), tmp_path / f"p.{suffix}")
    stage = Usd.Stage.Open(str(tmp_path / f"p.{suffix}"))
    assert len(UsdGeom.Points(stage.GetDefaultPrim().GetChildren()[0]).GetPointsAttr().Get()) == 3 * 48 * 64


def test_obj(sphere, tmp_path):
    import trimesh

    io.save(sphere, tmp_path / "a.obj")
    mesh = io.load(tmp_path / "a.obj").mesh
    for name in ("vertices", "colors"):
        torch.testing.assert_close(getattr(mesh, name), getattr(sphere.mesh, name), atol=0, rtol=0)
    theirs = trimesh.load(tmp_path / "a.obj", process=False)
    assert np.allclose(theirs.vertices * [1, -1, -1], sphere.mesh.vertices.numpy()) and np.array_equal(theirs.faces, mesh.faces.numpy())
    assert np.allclose(theirs.visual.vertex_colors[:, :3] / 255, mesh.colors.numpy(), atol=0.003)
