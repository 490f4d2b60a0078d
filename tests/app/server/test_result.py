"""A real job of the worker, run here once: what lies in its folder, its words, its downloads, and the lines that give the very same result."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import recon
from recon.app.downloads import OFFERS, made, make, notes_of
from recon.app.job import Job, mesh_lines, python_lines, shell_line
from recon.app.keeping import kept
from recon.app.limits import Refused
from recon.app.words import headline, photo_words
from recon.app.worker import Stopped

pytestmark = pytest.mark.weights
pytest.importorskip("recon.app.view_pack", reason="the viewer's half is absent")
RESOLUTION = 192


def quiet(text: str, share: float) -> None: ...


@pytest.fixture(scope="module")
def job(tmp_path_factory, sample_photos, root) -> Job:
    folder = tmp_path_factory.mktemp("result")
    (folder / "input").mkdir()
    names = ("left photo.jpg", "it's right.jpg")  # names that need quotes
    photos = tuple(Path(shutil.copy(p, folder / "input" / name)) for p, name in zip(sample_photos, names, strict=True))
    return Job(photos=photos, resolution=RESOLUTION, focal="95mm")


@pytest.fixture(scope="module")
def folder(job) -> Path:
    from recon.app.work import reconstruct

    told = []
    words = reconstruct(job, job.photos[0].parent.parent, tell=lambda text, share: told.append((text, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and told[0][0] == "reading the photos" and told[-1] == ("done", 1.0)
    assert words.startswith("2 photos placed, ")
    return job.photos[0].parent.parent


def test_the_folder_holds_a_whole_result(folder):
    assert {p.name for p in folder.iterdir()} >= {"view", "scene.npz", "files.json", "about.json", "input"}
    about = json.loads((folder / "about.json").read_text())
    assert [p["name"] for p in about["photos"]] == ["left photo.jpg", "it's right.jpg"]
    assert about["report"]["gaussians"] > 1000 and {o["key"] for o in about["downloads"]} == set(OFFERS)
    assert str(folder.parent) not in (folder / "about.json").read_text()  # where it lies is nobody's business
    assert (folder / "view" / "view.json").is_file()


def test_the_lines_give_this_very_result(folder, job, tmp_path, monkeypatch, capsys):
    from recon.cli import main

    for photo in job.photos:
        shutil.copy(photo, tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(python_lines(job), "reproduce.py", "exec"), {})
    import shlex

    words = shlex.split(shell_line(job))
    assert words[:2] == ["recon", "run"]
    assert main([*words[1:], "--formats", "ply"]) == 0, capsys.readouterr().err
    ours = make(folder, "ply", None, tell=quiet)
    assert ours.read_bytes() == Path("scene.ply").read_bytes() == Path("out/scene.ply").read_bytes()
    assert make(folder, "glb", None, tell=quiet).read_bytes() == Path("scene.glb").read_bytes()  # the page's GLB is recon.save's own


def test_the_lines_of_the_mesh_give_this_very_mesh(folder, job, tmp_path, monkeypatch, capsys):
    import shlex

    from recon.cli import main

    for photo in job.photos:
        shutil.copy(photo, tmp_path)
    monkeypatch.chdir(tmp_path)
    ours = make(folder, "mesh", None, tell=quiet).read_bytes()
    exec(compile(mesh_lines(job), "mesh.py", "exec"), {})
    assert Path("mesh.glb").read_bytes() == ours
    Path("mesh.glb").unlink()
    words = shlex.split(shell_line(job, mesh=True))
    assert words[:2] == ["recon", "mesh"] and main(words[1:]) == 0, capsys.readouterr().err
    assert Path("mesh.glb").read_bytes() == ours


def test_every_offer_is_made_whole(folder):
    for key in sorted(set(OFFERS) - {"orbit", "wobble", "page"}):
        assert made(folder, key, None) is None or key in ("ply", "glb", "mesh")
        path = make(folder, key, None, tell=quiet)
        assert path.stat().st_size > 1000 and made(folder, key, None) == path
        about = next(o["about_bytes"] for o in json.loads((folder / "about.json").read_text())["downloads"] if o["key"] == key)
        assert path.stat().st_size / 4 < about < 4 * path.stat().st_size, (key, about, path.stat().st_size)
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
                assert not any(name.startswith("/") or ".." in name or ".recon" in name for name in archive.namelist())
    assert not list(folder.glob(".making-*"))
    assert {p.suffix for p in (folder / "files" / "units").iterdir()} <= {".zip", ".ply", ".glb", ".usdz", ".npz", ".notes"}
    assert "principal points" not in notes_of(made(folder, "ply", None) or Path())


def test_the_glb_is_valid_and_colmap_has_the_photos_themselves(folder, job):
    import trimesh

    cloud = trimesh.load(make(folder, "glb", None, tell=quiet))
    assert sum(len(g.vertices) for g in cloud.geometry.values()) > 1000  # type: ignore[union-attr]
    with zipfile.ZipFile(make(folder, "colmap", None, tell=quiet)) as archive:
        images = [name for name in archive.namelist() if "/images/" in name]
        assert sorted(archive.read(name) for name in images) == sorted(p.read_bytes() for p in job.photos)


def test_the_mesh_is_made_once_in_the_views_world_and_upright_for_the_files(folder, monkeypatch):
    import trimesh
    from scipy.spatial import cKDTree

    from recon.app.meshing import make_mesh

    assert json.loads((folder / "view" / "view.json").read_text())["mesh"] == "mesh.glb"
    corners = lambda path: np.concatenate([g.vertices for g in trimesh.load(path).geometry.values()])  # type: ignore[union-attr]
    file = make(folder, "mesh", None, tell=quiet)
    monkeypatch.setattr("recon.meshes.fusion.fuse", None)  # neither again for the view nor for another scale
    make_mesh(folder, tell=quiet)
    view, home = corners(folder / "view" / "mesh.glb") * (1, -1, -1), corners(file)
    splats = recon.load(folder / "scene.npz").gaussians.means.numpy()  # type: ignore[union-attr]
    far = lambda turn: np.median(cKDTree(splats).query(view[::20] * turn)[0]) / splats.std()
    assert far(1) < 0.02 < 0.2 < far((1, -1, -1)), (far(1), far((1, -1, -1)))
    assert np.allclose(corners(make(folder, "mesh", 2.5, tell=quiet)), 2.5 * home, atol=1e-4)
    rotation, _, _, _ = np.linalg.lstsq(view, home, rcond=None)
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and rotation[1, 1] < -0.8  # y of the first camera is down, of files up
    material = trimesh.load(file, force="mesh").visual.material  # type: ignore[union-attr]
    assert min(material.baseColorTexture.size) > 100


def test_without_open3d_no_mesh_is_offered(folder, monkeypatch):
    from recon.app.downloads import offers

    scene = kept(folder)
    assert {o["key"] for o in offers(scene)} >= {"mesh", "usdz"}
    monkeypatch.setattr("recon.meshes.with_open3d.has_open3d", lambda: False)
    assert not {o["key"] for o in offers(scene)} & {"mesh", "usdz"}


def test_a_measured_length_rescales_the_files(folder):
    units, metres = (recon.load(make(folder, "scene", scale, tell=quiet)) for scale in (None, 2.5))
    assert not units.metric and metres.metric
    assert torch.allclose(metres.gaussians.means, 2.5 * units.gaussians.means)  # type: ignore[union-attr]
    assert torch.allclose(metres.cameras.cam_to_world[:, :3, 3], 2.5 * units.cameras.cam_to_world[:, :3, 3])
    assert kept(folder, 2.5).metric


def test_the_orbit_is_one_turn_around_the_scene(folder, monkeypatch):
    """Each frame is another one, the far side is the farthest from the first, and the last leads back to it."""
    import imageio.v3 as iio

    for name, value in (("FRAMES", 48), ("WIDTH", 240), ("HEIGHT", 180)):
        monkeypatch.setattr(f"recon.app.downloads.{name}", value)
    frames = iio.imread(make(folder, "orbit", 3.0, tell=quiet), plugin="FFMPEG").astype(float)
    assert frames.shape == (48, 180, 240, 3) and (np.ptp(frames, axis=(1, 2, 3)) > 60).all()  # something is in each
    from_first = np.abs(frames - frames[0]).mean(axis=(1, 2, 3))
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.min() > 0.3  # it never stands still
    assert max(from_first[1], from_first[-1]) < 0.75 * from_first[12:37].min()  # away, and back


def test_a_video_is_made_on_wish(folder, monkeypatch):
    monkeypatch.setattr("recon.app.downloads.FRAMES", 4)
    shares = []
    path = make(folder, "wobble", None, tell=lambda text, share: shares.append(share))
    import imageio.v3 as iio

    assert path.suffix == ".mp4" and iio.imread(path, plugin="FFMPEG").shape[1:3] == (720, 960)
    assert len(shares) > 4


def test_what_fails_leaves_nothing(folder):
    def stop(text: str, share: float) -> None:
        if text == "writing":
            raise Stopped

    with pytest.raises(Stopped):
        make(folder, "points", 7.0, tell=stop)
    assert made(folder, "points", 7.0) is None and not list(folder.glob(".making-*"))
    with pytest.raises(Refused, match=r"unknown download '\.\./x'; one of: blender"):
        make(folder, "../x", None, tell=quiet)


def test_the_viewer_can_be_shared(folder, root):
    pytest.importorskip("recon.app.offline")
    if not (root / "app" / "static" / "vendor" / "playcanvas.min.js").is_file():
        pytest.skip("the 3D engine was not fetched: python tools/fetch_viewer.py")
    with zipfile.ZipFile(make(folder, "page", None, tell=quiet)) as archive:
        assert "recon/index.html" in archive.namelist()
        with_mesh = any("mesh.glb" in name for name in archive.namelist())
    assert with_mesh == (folder / "view" / "mesh.glb").is_file()


def test_the_page_to_share_has_the_mesh_once_it_was_made(folder, tmp_path, monkeypatch):
    import base64

    import trimesh

    from recon.app.meshing import make_mesh

    if not (root_of := Path(__file__).parents[3] / "app" / "static" / "vendor" / "playcanvas.min.js").is_file():
        pytest.skip(f"the 3D engine was not fetched: {root_of.name}")
    other = tmp_path / "entry"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("files", "mesh.*"))
    without = make(other, "page", None, tell=quiet)
    with zipfile.ZipFile(without) as archive:
        assert not any("mesh.glb" in name for name in archive.namelist())
    make_mesh(other, tell=quiet)
    assert made(other, "page", None) is None  # the page without it is not handed out any more
    with zipfile.ZipFile(make(other, "page", 2.0, tell=quiet)) as archive:
        parts = sorted(name for name in archive.namelist() if "/mesh.glb-" in name)
        (tmp_path / "got.glb").write_bytes(b"".join(base64.b64decode(archive.read(name).split(b'"')[1]) for name in parts))
        assert '"modes": ["splats", "mesh", "points"]' in archive.read("recon/index.html").decode()
    corners = lambda path: np.concatenate([g.vertices for g in trimesh.load(path).geometry.values()])  # type: ignore[union-attr]
    here, there = corners(tmp_path / "got.glb"), 2 * corners(other / "view" / "mesh.glb")
    assert np.allclose(here.min(0), there.min(0), atol=1e-4) and np.allclose(here.max(0), there.max(0), atol=1e-4)  # in the view's own world


def report(**changes):
    view = {"name": "a.jpg", "placed_by": "matches", "confidence": 0.9, "width": 3600, "height": 2400, "K": [[2800.0, 0, 0]], "exif_focal": True}
    views, warnings = [view, {**view, "name": "b.jpg", **changes}], ["b.jpg is blurred", "bb.jpg is gone", "all is dim"]
    return {"views": views, "points": 12345, "metric": False, "seconds": {"total": 8.2}, "warnings": warnings}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Placed by what it shares with the other photos; very sure (90 %)."),
        ({"confidence": 0.3}, "Placed by what it shares with the other photos; unsure (30 %)."),
        ({"confidence": None}, "Placed by what it shares with the other photos; hardly more than a guess (0 %)."),
        ({"placed_by": "unplaced", "K": [[None]]}, "Could not be placed: it shares too little with the other photos."),
        ({"placed_by": "given"}, "Stands where the given cameras say."),
    ],
)  # fmt: skip
def test_words(changes, words):
    told = photo_words(report(**changes))
    assert told[1]["words"] == words and told[1]["warnings"] == ["b.jpg is blurred"] and told[0]["warnings"] == []
    assert told[0]["lens"] == "Lens like 28 mm on 35 mm film, told by the photo's EXIF."
    lost = changes.get("placed_by") == "unplaced"
    assert headline(report(**changes)).startswith("1 of 2 photos placed" if lost else "2 photos placed, 12,345 points")


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"resolution": 10}, "resolution is 10"), ({"focal": "28mm", "cameras": Path("c.json")}, "not both"), ({"metric": True}, "in metres"),
     ({"frames": 0}, "0 frames")],
)  # fmt: skip
def test_jobs_that_make_no_sense_are_refused(changes, why):
    with pytest.raises(Refused, match=why):
        Job(photos=(Path("a.jpg"),), **changes)


def test_lines_of_a_job_with_everything():
    job = Job(photos=(Path("v.mp4"), Path("-a.jpg")), cameras=Path("x/colmap"), masks=Path("x/masks"), metric=True, frames=30, resolution=768)
    known = "--cameras colmap --metric --masks masks --frames 30"
    assert shell_line(job) == f"recon run v.mp4 ./-a.jpg -o out --model recon-small {known} --resolution 768 --seed 0"
    lines = python_lines(job)
    compile(lines, "lines", "exec")
    assert "videos_as_photos(['v.mp4', '-a.jpg'], count=30)" in lines and "metric=True" in lines and "pairs='sequence'" in lines
    assert os.sep + "x" not in lines and np.isfinite(len(lines))
