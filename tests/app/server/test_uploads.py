"""Uploaded files are untrusted: names, sizes, what they claim to be."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.app.knowledge import take_cameras, take_masks
from recon.app.limits import Limits, Refused
from recon.app.uploads import count_photos, kind_of, safe_name, take_photos

LIMITS = Limits()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header says so and whose pixels shrink to nothing."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = zlib.compress(b"\0" * 10_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def archive(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_photos_are_known_by_their_bytes(kind):
    assert kind_of(picture(kind)[:16]) == "photo"


def test_all_kinds_are_counted_and_copied(tmp_path):
    import pillow_heif

    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (90, 120, 30))).save(tmp_path / "c.heic")
    given = [
        write(tmp_path / "a.jpg", picture()), archive(tmp_path / "b.zip", {"x/1.jpg": picture(), "2.png": picture("PNG"), "readme.txt": b"hi"}),
        tmp_path / "c.heic", write(tmp_path / "d.mp4", b"\0\0\0\x18ftypisom" + b"\0" * 50),
    ]  # fmt: skip
    assert count_photos(given, LIMITS, 20) == 1 + 2 + 1 + 20
    (tmp_path / "e").mkdir()
    again = write(tmp_path / "e" / "a.jpg", picture())
    copies = take_photos([*given, again], tmp_path / "input")
    assert [p.name for p in copies] == ["a.jpg", "b.zip", "c.heic", "d.mp4", "a_2.jpg"]
    assert all(copy.read_bytes() == source.read_bytes() for copy, source in zip(copies, [*given, again], strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evil.svg", SVG), ("evil.jpg", SVG), ("evil.html", b"<html><script>alert(1)</script>"), ("evil.png", b"<!doctype html><script>"),
        ("page.jpg", b"%PDF-1.7 ..."), ("post.jpg", b"%!PS-Adobe-3.0 EPSF-3.0 run"), ("anim.gif", b"GIF89a"), ("a.jpg", b""), ("a.jpg", b"\xff"),
        ("list.mp4", b"#EXTM3U\nfile:///etc/passwd"), ("concat.mkv", b"ffconcat version 1.0\nfile /etc/passwd"), ("a", b"\xff\xd8\xff"),
        ("script.py", b"print(1)"),
    ],
)  # fmt: skip
def test_what_is_no_photo_video_or_archive_is_refused(tmp_path, name, content):
    with pytest.raises(Refused, match="allowed: "):
        count_photos([write(tmp_path / name, content)], LIMITS, 20)


def test_forged_types_are_refused(tmp_path):
    with pytest.raises(Refused, match=r"is named \.jpg but holds a zip"):
        count_photos([archive(tmp_path / "a.jpg", {"b.jpg": picture()})], LIMITS, 20)
    with pytest.raises(Refused, match=r"is named \.zip but holds a photo"):
        count_photos([write(tmp_path / "a.zip", picture())], LIMITS, 20)
    with pytest.raises(Refused, match=r"is named \.mp4 but holds a photo"):
        count_photos([write(tmp_path / "a.mp4", picture())], LIMITS, 20)


def test_a_picture_that_is_also_an_archive_or_a_page_is_a_picture_only(tmp_path):
    """Polyglots: what follows the picture is never looked at, and the copy keeps its picture's ending."""
    both = picture() + archive(tmp_path / "in.zip", {"../../evil.jpg": picture()}).read_bytes() + b"<script>alert(1)</script>"
    path = write(tmp_path / "both.jpg", both)
    assert count_photos([path], LIMITS, 20) == 1
    assert take_photos([path], tmp_path / "input")[0].suffix == ".jpg"


@pytest.mark.parametrize("inside", [False, True])
def test_200_megapixels_are_refused_before_they_are_decoded(tmp_path, inside):
    bomb = huge_png(20_000, 10_000)
    path = archive(tmp_path / "a.zip", {"a.png": bomb}) if inside else write(tmp_path / "a.png", bomb)
    with pytest.raises(Refused, match=r"20000 x 10000 pixels \(200 million\), and 100 million are allowed"):
        count_photos([path], LIMITS, 20)


def test_too_many_and_too_large_are_refused(tmp_path):
    photo = write(tmp_path / "a.jpg", picture())
    with pytest.raises(Refused, match="4 files were given, and 3 photos"):
        count_photos([photo] * 4, Limits(photos=3), 20)
    with pytest.raises(Refused, match="5 photos were given"):
        count_photos([archive(tmp_path / "a.zip", {f"{k}.jpg": picture() for k in range(5)})], Limits(photos=3), 20)
    with pytest.raises(Refused, match="21 photos were given"):
        count_photos([photo, write(tmp_path / "v.mp4", b"\0\0\0\x18ftypisom")], Limits(photos=20), 20)
    large = write(tmp_path / "large.jpg", picture() + b"\0" * 2_000_000)
    with pytest.raises(Refused, match=r"large.jpg is 2 MB, and 1 MB"):
        count_photos([large], Limits(file_mb=1), 20)
    with pytest.raises(Refused, match="6 MB together, and 5 MB"):
        count_photos([large] * 3, Limits(total_mb=5), 20)
    with pytest.raises(Refused, match="no photos"):
        count_photos([], LIMITS, 20)


OUTSIDE = ["../../etc/leak.jpg", "/etc/leak.jpg", "..\\..\\leak.jpg", "C:\\leak.jpg", "a/../../leak.jpg", "\\\\host\\leak.jpg"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name):
    photos = lambda path: count_photos([path], LIMITS, 20)
    masks, cameras = lambda path: take_masks([path], tmp_path / "m", LIMITS), lambda path: take_cameras(path, tmp_path / "c", LIMITS)
    for take in (photos, masks, cameras):
        with pytest.raises(Refused, match="leads out of the archive"):
            take(archive(tmp_path / "a.zip", {name: picture()}))
    assert not list(tmp_path.parent.rglob("leak.jpg"))


def test_archives_that_unpack_to_too_much_are_refused(tmp_path):
    zeros = archive(tmp_path / "a.zip", {"a.jpg": b"\xff\xd8\xff" + b"\0" * 20_000_000}, zipfile.ZIP_DEFLATED)
    assert zeros.stat().st_size < 100_000
    with pytest.raises(Refused, match=r"would unpack from 0\.0 MB to 20 MB"):
        count_photos([zeros], LIMITS, 20)
    with pytest.raises(Refused, match=r"a.jpg of 20 MB"):
        count_photos([zeros], Limits(file_mb=10), 20)
    many = archive(tmp_path / "b.zip", {f"{k}.txt": b"" for k in range(2000)})
    with pytest.raises(Refused, match="2000 files"):
        count_photos([many], LIMITS, 20)
    lying = bytearray(archive(tmp_path / "c.zip", {"a.jpg": picture() + b"\0" * 5_000_000}, zipfile.ZIP_DEFLATED).read_bytes())
    at = lying.rindex(b"PK\1\2")
    lying[at + 24 : at + 28] = struct.pack("<I", 100)  # says that it unpacks to 100 bytes
    write(tmp_path / "c.zip", bytes(lying))
    with pytest.raises(Refused, match="cannot be read as a zip archive"):
        count_photos([tmp_path / "c.zip"], LIMITS, 20)


def test_broken_locked_and_empty_archives_read_well(tmp_path):
    whole = archive(tmp_path / "a.zip", {"a.jpg": picture()}).read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], whole.replace(b"PK\1\2", b"XX\1\2")):
        with pytest.raises(Refused, match="cannot be read as a zip archive"):
            count_photos([write(tmp_path / "b.zip", content)], LIMITS, 20)
    with pytest.raises(Refused, match="holds no photos"):
        count_photos([archive(tmp_path / "c.zip", {"readme.txt": b"hi", "__MACOSX/._a.jpg": b"x"})], LIMITS, 20)
    with pytest.raises(Refused, match="is no photo, although"):
        count_photos([archive(tmp_path / "d.zip", {"a.jpg": SVG})], LIMITS, 20)


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../x.jpg", "x.jpg"), ("a\0b\n.jpg", "a_b_.jpg"), ("-rf.jpg", "rf.jpg"), (".htaccess", "htaccess"), ("C:\\x\\y.jpg", "y.jpg"),
     ("<img src=x onerror=alert(1)>.jpg", "_img src=x onerror=alert(1)_.jpg"), ("Küche 1.jpg", "Küche 1.jpg"), ("", "file")],
)  # fmt: skip
def test_safe_names(name, safe):
    assert safe_name(name) == safe
    assert len(safe_name("x" * 500 + ".jpg")) == 100


def test_cameras_and_masks(tmp_path):
    model = {f"sparse/0/{name}.txt": b"# COLMAP" for name in ("cameras", "images", "points3D")}
    folder = take_cameras(archive(tmp_path / "model.zip", {**model, "sparse/0/run.sh": b"rm -rf /"}), tmp_path / "c", LIMITS)
    assert sorted(p.name for p in folder.iterdir()) == ["cameras.txt", "images.txt", "points3D.txt"]
    assert take_cameras(write(tmp_path / "transforms.json", b"{}"), tmp_path / "c", LIMITS).read_bytes() == b"{}"
    with pytest.raises(Refused, match="no file of cameras"):
        take_cameras(write(tmp_path / "cameras.pkl", b"\x80\x04"), tmp_path / "c", LIMITS)
    with pytest.raises(Refused, match="holds no COLMAP model"):
        take_cameras(archive(tmp_path / "a.zip", {"a.jpg": picture()}), tmp_path / "d", LIMITS)
    packed, single = archive(tmp_path / "m.zip", {"m/a.png": picture("PNG"), "m/x.txt": b""}), write(tmp_path / "b.png", picture("PNG"))
    masks = take_masks([packed, single], tmp_path / "m", LIMITS)
    assert sorted(p.name for p in masks.iterdir()) == ["a.png", "b.png"]
    with pytest.raises(Refused, match="no picture of a mask"):
        take_masks([write(tmp_path / "m.svg", SVG)], tmp_path / "m", LIMITS)
