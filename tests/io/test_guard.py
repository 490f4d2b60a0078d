"""What recon did not write stays as it is, byte for byte, whatever is read, written, in the way or interrupted."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import recon.io as io
from recon.cli import main
from recon.commands.run import write_scene
from recon.errors import FileError, ReconError
from recon.io.guard import LIST, Guard, read_list
from recon.photos.grid import load_images
from recon.scene import Scene

FORMATS = [
    "ply", "splat", "spz", "meta.json", "points.ply", "points.glb", "gltf", "obj", "transforms.json", "cameras.json", "depth_npy", "colmap",
    "colmap_binary", "npz",
]  # fmt: skip
LIKELY = [  # names that something of ours could have
    "scene.ply", "scene.splat", "scene.spz", "scene.points.ply", "scene.obj", "scene.mtl", "scene.npz", "cameras.json", "report.json",
    "contact_sheet.png", "points.ply", "transforms.json", "images/a.jpg", "images/b.png", "colmap/images/a.jpg", "colmap/sparse/0/cameras.txt",
    "colmap/sparse/0/cameras.bin", "colmap/sparse/0/frames.txt", "nerfstudio/points.ply", "nerfstudio/images/b.png", "nerfstudio/transforms.json",
    "sog/meta.json", "sog/sh0.webp", "depth_npy/depth.json", "depth_npy/a.npy", LIST, "colmap/" + LIST, "notes.txt", "sub/scene.ply",
]  # fmt: skip


def photos_in(folder: Path) -> list[Path]:
    """Two photos of 80 x 60 with names of different kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("a.jpg", "b.png")):
        pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 60)).save(folder / name)
    return [folder / "a.jpg", folder / "b.png"]


def scene_of(photos: list[Path], views) -> Scene:
    """The plane's scene with these photos."""
    images = load_images(photos, long_side=64)
    scene = views(2, images.rgb.shape[2], images.rgb.shape[1])
    return replace(scene, images=images, cameras=replace(scene.cameras, **{
        name: getattr(images, name) for name in ("photo_width", "photo_height", "grid_scale", "grid_offset")
    }), gaussians=None)  # fmt: skip


def contents(folder: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def foreign(folder: Path, draw: random.Random, names: list[str]) -> None:
    for name in names:
        path = folder / name
        if not path.exists() and not any(p.is_file() for p in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw.randbytes(draw.choice([0, 1, 40])))


@pytest.fixture
def sheet(monkeypatch):
    """A contact sheet that costs nothing, written as the real one is."""
    from recon.io.files import whole_file
    from recon.render import contact_sheet

    def save(scene: Scene, path: Path, guard: Guard) -> None:
        with whole_file(path, guard) as temporary:
            temporary.write_bytes(b"sheet")

    monkeypatch.setattr(contact_sheet, "save_contact_sheet", save)


@pytest.mark.parametrize("part", range(4))
def test_a_thousand_random_pairs(views, gaussians, tmp_path, sheet, part):
    """Input folder, output folder, formats and files in the way drawn at random; runs of old outputs, with and without overwrite."""
    written = refused = 0
    for number in range(250 * part, 250 * part + 250):
        draw = random.Random(number)
        base = tmp_path / str(number)
        inputs = base / draw.choice(["photos", "images", "colmap/images", ".", "nerfstudio/images"])
        out = base / draw.choice([".", "out", "images", "colmap", "photos", "nerfstudio", "images/.."])
        scene = scene_of(photos_in(inputs), views)
        if draw.random() < 0.6:
            scene = replace(scene, gaussians=gaussians(8, degree=1))
        own = draw.random() < 0.3
        formats = [name for name in draw.sample(FORMATS, draw.choice([1, 1, 2, 4])) if scene.gaussians is not None or name not in FORMATS[:4]]
        out.mkdir(parents=True, exist_ok=True)
        if own:
            attempt(scene, out, formats, Guard(inputs.iterdir()))
        foreign(out, draw, draw.sample(LIKELY, draw.choice([0, 0, 1, 3])))
        mine = set() if not own else {root / name for root in {p.parent for p in out.rglob(LIST)} for name in names_of(root)}
        before = {path: total for path, total in contents(base).items() if path not in mine and path.name != LIST}
        done = attempt(scene, out, formats, Guard(inputs.iterdir(), overwrite=draw.random() < 0.5))
        written, refused = written + done, refused + (not done)
        after = contents(base)
        assert {path: after.get(path) for path in before} == before, (number, inputs, out, formats)
        if not done and not own:
            assert set(after) <= set(before) | set(base.rglob(LIST)), (number, "stopped after the first byte")
    assert written > 60 and refused > 30


def names_of(root: Path) -> list[str]:
    try:
        return list(read_list(root))
    except FileError:
        return []


def attempt(scene: Scene, out: Path, formats: list[str], guard: Guard) -> bool:
    """Whether it was done; then every file that came is listed."""
    before = set(out.rglob("*"))
    try:
        write_scene(scene, out, formats, guard)
    except ReconError as error:
        assert "\n" not in str(error)
        return False
    new = {p.resolve() for p in set(out.rglob("*")) - before if p.is_file() and p.name != LIST}
    assert new <= {p.resolve() for p in guard.files}
    return True


def endless(folder: Path, scenes: list[Scene]) -> None:
    while True:
        for scene in scenes:
            for name in ("scene.ply", "colmap", "obj/a.obj"):
                io.save(scene, folder / name, guard=Guard())


def test_killed_at_any_moment(views, gaussians, tmp_path):
    """SIGKILL at 50 moments: every file is whole and one of ours, what was there is as it was, and the next run goes on."""
    draw = random.Random(0)
    scenes = [replace(scene_of(photos_in(tmp_path / "photos"), views), gaussians=gaussians(2000, degree=3, seed=seed)) for seed in range(2)]
    folder = tmp_path / "out"
    (folder / "obj").mkdir(parents=True)
    (folder / "colmap").mkdir()
    (folder / "colmap" / "notes.txt").write_text("mine")
    for scene in scenes:
        for name in ("scene.ply", "colmap", "obj/a.obj"):
            io.save(scene, folder / name)
    for _ in range(50):
        child = multiprocessing.get_context("fork").Process(target=endless, args=(folder, scenes))
        child.start()
        time.sleep(0.02 + draw.random() * 0.1)
        assert child.pid is not None and child.is_alive()
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        for root in (folder, folder / "colmap", folder / "obj"):
            for name, sums in read_list(root).items():
                assert hashlib.sha256((root / name).read_bytes()).hexdigest() in sums, name
        assert (folder / "colmap" / "notes.txt").read_text() == "mine"
        assert len(io.load(folder / "scene.ply").gaussians) == 2000 and len(io.load(folder / "colmap")) == 2
    io.save(scenes[0], folder / "scene.ply")


def test_photos_are_exported_as_they_are(views, tmp_path):
    """Byte for byte, with cameras for their size: a point's pixel in the file is where the scene has it."""
    photos = photos_in(tmp_path / "photos")
    scene = scene_of(photos, views)
    for target, folder in (("colmap", tmp_path / "colmap" / "images"), ("transforms.json", tmp_path / "images")):
        io.save(scene, tmp_path / target)
        for photo in photos:
            assert (folder / photo.name).read_bytes() == photo.read_bytes()
    back = io.load(tmp_path / "colmap")
    assert [tuple(map(int, s)) for s in zip(back.cameras.photo_width, back.cameras.photo_height, strict=True)] == [(80, 60), (80, 60)]
    wanted = np.stack([c.K[0].numpy() for c in scene.cameras.for_photos()])
    assert np.allclose(back.cameras.K.numpy(), wanted, atol=1e-3)


def test_photos_that_others_see_differently_are_converted_and_said(views, tmp_path, caplog):
    first, second = photos_in(tmp_path / "photos")
    image = Image.open(first)
    tags = image.getexif()
    tags[0x0112] = 6
    image.load()
    image.resize((60, 80)).save(first, exif=tags)  # stored upright, told to be turned: seen at 80 x 60
    scene = scene_of([first, second], views)
    io.save(scene, tmp_path / "colmap")
    written = Image.open(tmp_path / "colmap" / "images" / "a.jpg")
    assert written.size == (80, 60) and written.getexif().get(0x0112, 1) == 1
    assert "a.jpg is written anew" in caplog.text and "b.png" not in caplog.text
    assert (tmp_path / "colmap" / "images" / "b.png").read_bytes() == second.read_bytes()


def test_photos_of_an_archive_are_exported_as_they_are(views, tmp_path):
    import zipfile

    photos = photos_in(tmp_path / "photos")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for photo in photos:
            archive.write(photo, f"trip/{photo.name}")
    io.save(scene_of([tmp_path / "all.zip"], views), tmp_path / "colmap")
    assert all((tmp_path / "colmap" / "images" / p.name).read_bytes() == p.read_bytes() for p in photos)


def test_photos_gone_since_are_written_from_memory(views, tmp_path, caplog):
    photos = photos_in(tmp_path / "photos")
    scene = scene_of(photos, views)
    photos[1].unlink()
    io.save(scene, tmp_path / "colmap")
    assert sorted(p.name for p in (tmp_path / "colmap" / "images").iterdir()) == ["a.jpg", "b.jpg"] and "not at hand" in caplog.text
    assert "files" not in json.dumps(list(np.load(save_npz(scene, tmp_path)).keys()))


def save_npz(scene: Scene, folder: Path) -> Path:
    """Places on this machine do not leave it."""
    (path,) = io.save(scene, folder / "scene.npz")
    assert str(folder).encode() not in path.read_bytes()
    return path


def test_the_issues_two_losses(views, tmp_path, capsys, monkeypatch):
    """run colmap/images -o . and convert scene.npz transforms.json kept nothing of the user's in 0.1.0."""
    photos = photos_in(tmp_path / "colmap" / "images")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.ply").write_bytes(b"mine")
    io.save(scene_of(photos, views), "scene.npz")
    before = contents(tmp_path)
    fast = ["--weights", "random", "--matches", "none", "--resolution", "64", "--quiet"]
    assert main(["run", "colmap/images", "-o", ".", *fast]) == 1
    assert "a.jpg: is read in this run" in capsys.readouterr().err
    assert main(["run", "colmap/images", "-o", ".", "--overwrite", *fast]) == 1
    assert main(["convert", "scene.npz", "transforms.json"]) == 1
    said = capsys.readouterr().err
    assert "points.ply: was not written by recon" in said and "--overwrite" in said and "overwrite=True" not in said
    assert contents(tmp_path) == before


def test_what_was_changed_since_needs_the_option(splats, tmp_path, capsys):
    io.save(splats(5), tmp_path / "a.npz")
    call = ["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.ply")]
    assert main(call) == main(call) == 0
    (tmp_path / "b.ply").write_bytes(b"edited")
    assert main(call) == 1 and "b.ply: was changed since recon wrote it; --overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "b.ply").read_bytes() == b"edited"
    assert main([*call, "--overwrite"]) == 0 and len(io.load(tmp_path / "b.ply").gaussians) == 5
    same = ["convert", str(tmp_path / "b.ply"), str(tmp_path / "b.ply"), "--overwrite"]
    assert main(same) == 1 and "is read in this run" in capsys.readouterr().err


def test_links_lead_nowhere(splats, tmp_path):
    (tmp_path / "mine.ply").write_bytes(b"mine")
    (tmp_path / "a.ply").symlink_to(tmp_path / "mine.ply")
    with pytest.raises(FileError, match="not written by recon"):
        io.save(splats(5), tmp_path / "a.ply", overwrite=True)
    (tmp_path / "b.ply").symlink_to(tmp_path / "nowhere.ply")
    with pytest.raises(FileError, match="not written by recon"):
        io.save(splats(5), tmp_path / "b.ply")
    assert (tmp_path / "mine.ply").read_bytes() == b"mine" and not (tmp_path / "nowhere.ply").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"recon_files": 1, "files": []}', b"[" * 100000])
def test_a_list_that_is_none_is_kept(splats, tmp_path, content):
    (tmp_path / LIST).write_bytes(content)
    with pytest.raises(FileError, match="not recon's list"):
        io.save(splats(5), tmp_path / "a.ply")
    assert [p.name for p in tmp_path.iterdir()] == [LIST] and (tmp_path / LIST).read_bytes() == content


def test_an_older_model_of_recon_goes_away_and_a_strangers_stays(views, tmp_path):
    photos = photos_in(tmp_path / "photos")
    scene = scene_of(photos, views)
    io.save(scene, tmp_path / "colmap")
    stranger = tmp_path / "colmap" / "sparse" / "0" / "rigs.txt"
    stranger.write_text("mine")
    with pytest.raises(FileError, match=r"rigs.txt: was not written by recon"):
        io.save(scene, tmp_path / "colmap")
    assert stranger.read_text() == "mine"


def test_a_copied_output_is_still_recons(splats, tmp_path):
    import shutil

    (tmp_path / "a").mkdir()
    io.save(splats(5), tmp_path / "a" / "a.ply")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    io.save(splats(7), tmp_path / "b" / "a.ply")
    assert len(io.load(tmp_path / "b" / "a.ply").gaussians) == 7 and len(io.load(tmp_path / "a" / "a.ply").gaussians) == 5


def test_render_keeps_what_is_not_its_own(splats, tmp_path, capsys):
    io.save(splats(5), tmp_path / "a.ply")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "frame_0001.png").write_bytes(b"mine")
    call = ["render", str(tmp_path / "a.ply"), "--orbit", "--frames", "2", "--size", "16x16", "-o", str(tmp_path / "frames"), "--backend", "torch"]
    assert main(call) == 1 and "frame_0001.png: was not written by recon" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "frames").iterdir()] == ["frame_0001.png"]
