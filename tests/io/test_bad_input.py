"""Bad files end in one FileError that names them: no crash, no hang, no memory beyond the file's honest size, nothing half-written."""

import gzip
import io as streams
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recon.io as io
from recon.errors import FileError, ReconError

READ = ["a.ply", "a.compressed.ply", "a.splat", "v2.spz", "v4.spz", "a.sog", "a.glb", "a.gltf", "a.npz"]
FILES = [*READ, "points.ply", "points.glb", "mesh.glb", "texture.glb", "a.obj", "a.mesh.ply", "cameras.json"]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, bytes]:
    """A small good file of each kind."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("io_scenes", Path(__file__).with_name("conftest.py"))
    assert spec is not None and spec.loader is not None
    scenes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scenes)
    folder = tmp_path_factory.mktemp("good")
    out = {}
    sphere = scenes.Scene(cameras=scenes.no_cameras(), mesh=scenes.sphere_mesh(4))
    for name in FILES:
        scene = sphere if name in ("mesh.glb", "a.obj", "a.mesh.ply") else scenes.splat_scene(20)
        if name == "texture.glb":
            scene = scenes.Scene(cameras=scenes.no_cameras(), mesh=scenes.textured_mesh(4))
        if name in ("a.npz", "cameras.json"):
            scene = scenes.view_scene(2, 8, 6, with_tracks=True)
        io.save(scene, folder / name, **({"spz_version": int(name[1])} if name.endswith("spz") else {}))
        out[name] = (folder / name).read_bytes()
    return out


def refused(path: Path) -> str:
    """The message of the error that reading `path` gives; it must be a FileError that names the file."""
    start = time.perf_counter()
    with pytest.raises(FileError) as caught:
        io.load(path)
    assert time.perf_counter() - start < 5
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def loads_or_is_refused(path: Path) -> None:
    """Damaged bytes may still be a valid file; anything but a scene or a FileError fails."""
    try:
        io.load(path)
    except FileError as error:
        assert path.name in str(error)


@pytest.mark.parametrize("name", FILES)
def test_every_truncation(good, tmp_path, name):
    """Cut anywhere (each byte of the first 400, then every 97th): refused, or, in text, a shorter file."""
    content = good[name]
    text = name in ("a.obj", "cameras.json")
    for size in [*range(min(400, len(content))), *range(400, len(content), 97), len(content) - 1]:
        path = tmp_path / name
        path.write_bytes(content[:size])
        if text or (name == "a.splat" and size % 32 == 0) or (name == "a.gltf" and size == len(content)):
            loads_or_is_refused(path)
        else:
            refused(path)


@pytest.mark.parametrize("name", FILES)
def test_fuzzed_bytes(good, tmp_path, name):
    path = tmp_path / name

    @settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def damage(data) -> None:
        content = bytearray(good[name])
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(1, 4))] = data.draw(st.binary(min_size=0, max_size=8))
        path.write_bytes(content)
        loads_or_is_refused(path)

    damage()


@pytest.mark.parametrize("name", ["a.ply", "points.ply", "a.gltf", "cameras.json", "a.obj", "a.mesh.ply"])
def test_fuzzed_numbers_in_text(good, tmp_path, name):
    """Any number of a header or a text file replaced by a strange one."""
    import re

    path = tmp_path / name
    head = good[name][:3000]
    places = [m.span() for m in re.finditer(rb"\d+(\.\d+)?", head)]

    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(places),
        st.sampled_from([b"-1", b"0", b"4294967295", b"99999999999999", b"1e400", b"nan", b"1.5", b"x", b"", b"[]", b'"a"', b"null", b"true"]),
    )
    def damage(place: tuple[int, int], word: bytes) -> None:
        path.write_bytes(good[name][: place[0]] + word + good[name][place[1] :])
        loads_or_is_refused(path)

    damage()


@pytest.mark.parametrize("name", [*FILES, "a.ksplat", "transforms.json"])
def test_files_of_something_else(tmp_path, name):
    for content in (b"", b"\0" * 100, b"hello, this is a text file\n" * 10, os.urandom(5000), b"\x89PNG\r\n\x1a\n" + b"\0" * 64):
        (tmp_path / name).write_bytes(content)
        if content or name != "a.splat":  # an empty .splat is one of no Gaussians
            refused(tmp_path / name)


def test_missing_files_folders_and_names(tmp_path):
    assert "no such file" in refused(tmp_path / "none.ply")
    (tmp_path / "folder.ply").mkdir()
    assert "folder" in refused(tmp_path / "folder.ply")
    (tmp_path / "a.xyz").write_text("1 2 3")
    assert "no known format" in refused(tmp_path / "a.xyz")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty")
    (tmp_path / "colmap").mkdir()
    assert "cameras.txt" in refused(tmp_path / "colmap")


HUGE = {
    "a.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\nproperty float x\nproperty float y\nproperty float z\nend_header\n",
    "b.ply": b"ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n",
    "c.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 1\nproperty list uint int vertex_indices\nend_header\n\xff\xff\xff\xff",
    "a.spz": gzip.compress(struct.pack("<3I4B", 0x5053474E, 3, 4_000_000_000, 3, 12, 0, 0) + b"\0" * 100),
    "b.spz": struct.pack("<3I4BI12x", 0x5053474E, 4, 4_000_000_000, 3, 12, 0, 6, 32) + struct.pack("<QQ", 100, 1 << 40) * 6,
    "a.ksplat": b"\0\1\0\0" + struct.pack("<4I", 1 << 30, 1, 1, 1) + b"\0" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_huge_counts_cost_nothing(tmp_path, name):
    (tmp_path / name).write_bytes(HUGE[name])
    refused(tmp_path / name)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = streams.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def bombs() -> dict[str, bytes]:
    from PIL import Image

    zeros = b"\0" * (256 << 20)
    picture = streams.BytesIO()
    Image.new("RGBA", (8192, 8192)).save(picture, "WEBP", lossless=True)
    meta = {
        "version": 2, "count": 8192 * 8192, "means": {"mins": [0, 0, 0], "maxs": [1, 1, 1], "files": ["m.webp", "m.webp"]},
        "scales": {"codebook": [0] * 256, "files": ["m.webp"]}, "quats": {"files": ["m.webp"]},
        "sh0": {"codebook": [0] * 256, "files": ["m.webp"]},
    }  # fmt: skip
    npy = streams.BytesIO()
    np.save(npy, np.zeros(32 << 20))
    return {
        "zeros.spz": gzip.compress(struct.pack("<3I4B", 0x5053474E, 3, len(zeros) // 64, 3, 12, 0, 0) + zeros),
        "member.sog": zipped({"meta.json": zeros}), "picture.sog": zipped({"meta.json": json.dumps(meta).encode(), "m.webp": picture.getvalue()}),
        "array.npz": zipped({"meta.npy": npy.getvalue()}), "nested.sog": zipped({"meta.json": zipped({"meta.json": zeros})}),
    }


MEASURE = """
import resource, sys
import numpy, torch, PIL.Image, zipfile, gzip, recon.io as io, recon.io.sog, recon.io.spz, recon.io.npz, recon.io.content, recon.io.axes
from recon.errors import FileError
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        io.load(path)
        word = "loaded"
    except FileError as error:
        word = "refused"
    print(word, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_are_refused_before_they_unpack(tmp_path):
    """Each would take 256 MB or more; refusing takes less than 48."""
    paths = []
    for name, content in bombs().items():
        assert len(content) < 2 << 20
        (tmp_path / name).write_bytes(content)
        paths.append(str(tmp_path / name))
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        word, used = line.split()
        assert word == "refused" and int(used) < 48, (path, line)


@pytest.mark.parametrize("evil", ["../secret.webp", "/etc/passwd", "a/../../secret.webp", "..\\secret.webp", "C:\\secret.webp", ""])
def test_names_that_lead_out(good, tmp_path, evil):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret.webp").write_bytes(b"secret")
    with zipfile.ZipFile(streams.BytesIO(good["a.sog"])) as archive:
        meta = json.loads(archive.read("meta.json"))
        archive.extractall(inner)
    meta["quats"]["files"] = [evil]
    (inner / "meta.json").write_text(json.dumps(meta))
    refused(inner / "meta.json")
    (inner / "a.gltf").write_text(json.dumps({
        "asset": {"version": "2.0"}, "buffers": [{"uri": evil, "byteLength": 6}], "bufferViews": [{"buffer": 0, "byteLength": 6}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 1, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "nodes": [{"mesh": 0}],
    }))  # fmt: skip
    refused(inner / "a.gltf")
    (inner / "transforms.json").write_text(json.dumps({
        "frames": [{"file_path": "x", "transform_matrix": np.eye(4).tolist(), "w": 4, "h": 4, "fl_x": 4}], "ply_file_path": evil or "\0"
    }))  # fmt: skip
    refused(inner / "transforms.json")


@pytest.mark.parametrize("field", ["means", "scales", "opacities", "sh", "quats"])
def test_nan_is_told_and_can_be_repaired(splats, tmp_path, field):
    from plyfile import PlyData

    io.save(splats(50), tmp_path / "a.ply")
    ply = PlyData.read(tmp_path / "a.ply", mmap=False)
    name = {"means": "x", "scales": "scale_1", "opacities": "opacity", "sh": "f_rest_3", "quats": "rot_2"}[field]
    ply["vertex"][name][[7, 9]] = np.nan
    ply.write(tmp_path / "a.ply")
    message = refused(tmp_path / "a.ply")
    assert "2 of 50 Gaussians" in message and "number 7" in message
    assert len(io.load(tmp_path / "a.ply", repair=True).gaussians) == 48
    from recon.io.inspect import inspect

    assert "2 of 50 Gaussians" in inspect(tmp_path / "a.ply")["problems"][0]


@pytest.mark.parametrize("ending", [".txt", ".bin"])
def test_damaged_colmap(views, tmp_path, ending):
    name = "colmap" if ending == ".txt" else "colmap_binary"
    io.save(views(with_tracks=True), tmp_path / name)
    sparse = tmp_path / name / "sparse" / "0"
    for part in ("cameras", "images", "points3D"):
        file = sparse / f"{part}{ending}"
        content = file.read_bytes()
        for size in [*range(0, min(len(content), 300), 3), *range(300, len(content), 211)]:
            file.write_bytes(content[:size])
            loads_or_is_refused(tmp_path / name)
        random = np.random.default_rng(0)
        for _ in range(60):
            damaged = bytearray(content)
            for at in random.integers(0, len(content), 3):
                damaged[at] = random.integers(0, 256)
            file.write_bytes(damaged)
            loads_or_is_refused(tmp_path / name)
        file.write_bytes(content)
    io.load(tmp_path / name)


def test_lenses_that_bend_nothing_are_pinholes(views, tmp_path):
    io.save(views(with_tracks=True), tmp_path / "colmap")
    file = tmp_path / "colmap" / "sparse" / "0" / "cameras.txt"
    file.write_text("1 OPENCV 128 96 100 102 64 48 0 0 0 0\n2 SIMPLE_RADIAL 128 96 110 66 46 0\n3 PINHOLE 128 96 120 122 68 44\n")
    cameras = io.load(tmp_path / "colmap").cameras
    assert cameras.K[:, 0, 0].tolist() == [100, 110, 120] and cameras.lenses == ()
    file.write_text("1 OPENCV 128 96 100 102 64 48 0 nan 0 0\n2 SIMPLE_RADIAL 128 96 110 66 46 0\n3 PINHOLE 128 96 120 122 68 44\n")
    assert "known are" in refused(tmp_path / "colmap")


@pytest.mark.parametrize("name", ["a.ply", "a.spz", "a.sog", "a.glb", "a.npz", "a.obj", "a.usdz", "a.compressed.ply", "a.splat"])
def test_a_failed_save_leaves_the_old_file(splats, tmp_path, name, monkeypatch):
    if name == "a.usdz":
        pytest.importorskip("pxr", reason="usd-core is not installed")
    scene, options = splats(50), {"kind": "points"} if name == "a.obj" else {}
    io.save(splats(3), tmp_path / name, **options)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        io.save(scene, tmp_path / name, **options)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_a_full_disk(tmp_path):
    """/dev/full takes nothing: an error with the name, and no file."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    from recon.io.files import whole_file

    with pytest.raises(FileError, match="cannot be written"), whole_file(tmp_path / "a.bin"), open("/dev/full", "wb") as file:
        file.write(b"x" * 100)
        file.flush()
    assert list(tmp_path.iterdir()) == []


def test_wrong_calls(splats, views, sphere, tmp_path):
    for scene, name, options, word in (
        (splats(5), "a.foo", {}, "no known format"), (splats(5), "a.ksplat", {}, "only read"), (splats(5), "a.ply", {"kind": "mesh"}, "has no mesh"),
        (sphere, "a.spz", {}, "has no splats"), (splats(5), "a.spz", {"spz_version": 9}, "wanted 2, 3 or 4"),
        (splats(5), "colmap", {}, "none of its"),
        (splats(5), "a.ply", {"sh_degree": 7}, "wanted 0 to 4"), (splats(5), "a.ply", {"axes": "up"}, "unknown axes"),
        (splats(5), "a.ply", {"unit_scale": -1.0}, "positive"), (splats(5), "points.ply", {"encoding": "latin"}, "unknown encoding"),
        (splats(5), "no/folder/a.ply", {}, "there is no folder"), (views(), "cameras.json", {"axes": "unity"}, "left-handed"),
        (splats(5), "depth_png", {}, "has no depth"), (splats(5), "a.ply", {"kind": "scene"}, "cannot hold"),
    ):  # fmt: skip
        with pytest.raises(ReconError, match=word):
            io.save(scene, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ReconError, match="unknown program"):
        io.save_for(splats(5), tmp_path, "word")
    with pytest.raises(ReconError, match="nerfstudio takes"):
        io.save_for(splats(5), tmp_path, "nerfstudio")
    with pytest.raises(ReconError, match="unknown format"):
        io.file_name("doc")


def test_memory_of_a_large_file(splats, tmp_path):
    """Reading 60 MB of Gaussians takes at most four times that."""
    scene = splats(1)
    from dataclasses import replace

    g = scene.gaussians
    count = 250_000
    many = replace(g, **{n: getattr(g, n).expand(count, *getattr(g, n).shape[1:]) for n in ("means", "quats", "scales", "opacities", "sh")})
    io.save(replace(scene, gaussians=many), tmp_path / "a.ply")
    size = (tmp_path / "a.ply").stat().st_size >> 20
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path / "a.ply")], capture_output=True, text=True, check=True)
    word, used = done.stdout.split()
    assert word == "loaded" and size > 55 and int(used) < 4 * size, (size, done.stdout)


