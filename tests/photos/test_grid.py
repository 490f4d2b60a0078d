"""Photos in: every kind of file, orientation, focal length, and coordinates that survive every change of grid."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from recon.errors import ReconError
from recon.photos.decode import exif_focal, read_photo
from recon.photos.grid import find_photos, grid_size, load_images, resize
from recon.scene import Images


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without fine detail, so that every resampling gives nearly the same."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, picture: np.ndarray, **options) -> Path:
    Image.fromarray(picture).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.heic", "a.tiff", "a.bmp"])
def test_kinds_of_files(tmp_path, name):
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture = smooth(192, 256)
    options = {} if name.endswith(("png", "tiff", "bmp")) else {"quality": 95}
    images = load_images([save(tmp_path / name, picture, **options)], long_side=256)
    assert images.rgb.shape == (1, 192, 256, 3) and images.mask.all()
    assert np.abs(images.rgb[0].numpy() * 255 - picture).mean() < (0.01 if not options else 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_modes(tmp_path, mode):
    picture = smooth(96, 128)
    if mode == "I;16":
        image = Image.fromarray(picture[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(picture).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)
    photo = read_photo(path, "a")
    assert photo.rgb.shape == (96, 128, 3) and photo.rgb.dtype == np.uint8 and photo.alpha is None
    wanted = picture[..., :1].repeat(3, 2) if mode == "I;16" else np.asarray(image.convert("RGB"))
    assert np.abs(photo.rgb.astype(int) - wanted).mean() < (0.01 if mode != "CMYK" else 6)


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_sixteen_bits_a_colour(tmp_path, name):
    picture = smooth(96, 128)
    cv2.imwrite(str(tmp_path / name), picture[..., ::-1].astype(np.uint16) * 257)
    photo = read_photo(tmp_path / name, name)
    assert np.abs(photo.rgb.astype(int) - picture).max() <= 1


def test_alpha_becomes_the_mask(tmp_path):
    picture = np.dstack([smooth(128, 128), np.zeros((128, 128), np.uint8)])
    picture[32:96, 16:64, 3] = 255
    images = load_images([save(tmp_path / "a.png", picture)], long_side=128)
    wanted = torch.zeros(128, 128, dtype=torch.bool)
    wanted[32:96, 16:64] = True
    assert torch.equal(images.mask[0], wanted)
    assert (images.rgb[0][~wanted] == 1).all()
    half = resize(images, 64)
    assert torch.equal(half.mask[0], wanted[::2, ::2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    upright = smooth(96, 160)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # how the camera stored it: PIL's transpositions
    stored = Image.fromarray(upright) if undo is None else Image.fromarray(upright).transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA405] = 28
    path = tmp_path / "a.png"
    stored.save(path, exif=exif)
    photo = read_photo(path, "a")
    assert (photo.width, photo.height) == (160, 96)
    assert np.array_equal(photo.rgb, upright)
    assert photo.focal == pytest.approx(28 / math.hypot(36, 24) * math.hypot(160, 96))


def test_a_large_jpeg_is_turned_and_measured_at_its_own_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(3000, 4000)).save(tmp_path / "a.jpg", exif=exif)
    photo = read_photo(tmp_path / "a.jpg", "a")
    assert (photo.width, photo.height) == (3000, 4000) and photo.rgb.shape == (1600, 1200, 3)
    upright = np.asarray(Image.fromarray(smooth(3000, 4000)).transpose(Image.Transpose.ROTATE_270).resize((1200, 1600)))
    assert np.abs(photo.rgb.astype(int) - upright).mean() < 3


def test_focal_of_exif():
    assert exif_focal({0xA405: 36}, 4000, 3000) == pytest.approx(36 / math.hypot(36, 24) * 5000)
    sensor = {0x920A: 50.0, 0xA20E: 2000 / 23.0 * 25.4, 0xA210: 2, 0xA002: 2000, 0xA003: 1500}  # 2000 pixels on 23 mm
    assert exif_focal(sensor, 1000, 750) == pytest.approx(50 / 23 * 1000)
    assert exif_focal(sensor, 750, 1000) == pytest.approx(50 / 23 * 1000)
    assert math.isnan(exif_focal(sensor, 1000, 1000))  # cropped
    for nothing in ({}, {0xA405: 0}, {0xA405: "x"}, {0xA405: 10000}, {0x920A: 50.0}):
        assert math.isnan(exif_focal(nothing, 4000, 3000))


def test_focal_follows_the_grid(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 36
    Image.fromarray(smooth(600, 800)).save(tmp_path / "a.jpg", exif=exif)
    images = load_images([tmp_path / "a.jpg"], long_side=400)
    focal = 36 / math.hypot(36, 24) * 1000
    assert images.focal[0].item() == pytest.approx(focal / 2, rel=1e-5)
    assert resize(images, 192).focal[0].item() == pytest.approx(focal * 192 / 800, rel=1e-5)


def test_folders_are_sorted_as_people_count(tmp_path):
    for name in ("b_10.png", "b_9.png", "a_1.png"):
        save(tmp_path / name, smooth(64, 64))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    (tmp_path / "below").mkdir()
    save(tmp_path / "below" / "c.png", smooth(64, 64))
    assert [Path(file.path).name for file in find_photos(tmp_path)] == ["a_1.png", "b_9.png", "b_10.png"]
    assert [Path(file.path).name for file in find_photos(str(tmp_path / "b_*.png"))] == ["b_9.png", "b_10.png"]
    given = [tmp_path / "b_10.png", tmp_path / "a_1.png"]
    assert [Path(file.path) for file in find_photos(given)] == given


def test_a_zip_archive_and_names_met_twice(tmp_path):
    save(tmp_path / "a.png", smooth(64, 64))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "one/a.png")
        archive.write(tmp_path / "a.png", "two/a.png")
        archive.writestr("readme.txt", "x")
    images = load_images([tmp_path / "photos.zip", tmp_path / "a.png"], long_side=64)
    assert images.names == ("a.png", "a_2.png", "a_3.png")
    assert torch.equal(images.rgb[0], images.rgb[2])


@given(sizes=st.lists(st.tuples(st.integers(40, 300), st.integers(40, 300)), min_size=1, max_size=4), long_side=st.integers(40, 400))
@settings(max_examples=60, deadline=None)
def test_grids_hold_every_photo(sizes, long_side):
    width, height = grid_size(sizes, long_side)
    assert width % 16 == 0 and height % 16 == 0 and max(width, height) == max(16, round(long_side / 16) * 16)


@given(
    sizes=st.lists(st.tuples(st.integers(40, 400), st.integers(40, 400)), min_size=1, max_size=3),
    long_side=st.integers(64, 320), other=st.integers(64, 320), seed=st.integers(0, 10**6), keep=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@example(sizes=[(44, 254)], long_side=64, other=64, seed=0, keep=True)  # pixels centred on the photo's edge
def test_scale_and_offset_say_where_each_pixel_came_from(tmp_path_factory, sizes, long_side, other, seed, keep):
    """A linear ramp tells positions: its values on the grid give the photo's coordinates back, also after another resize."""
    folder = tmp_path_factory.mktemp("ramp")
    for i, (w, h) in enumerate(sizes):
        if max(w, h) > 8 * min(w, h):
            return
        ramp = np.zeros((h, w, 3))
        ramp[..., 0], ramp[..., 1] = ((np.arange(w) + 0.5) / w * 255)[None], ((np.arange(h) + 0.5) / h * 255)[:, None]
        save(folder / f"{i}.png", ramp.round().astype(np.uint8))
    images = load_images(folder, long_side=long_side)
    if not keep:
        images = Images(**{k: getattr(images, k) for k in ("rgb", "mask", "focal", "photo_width", "photo_height", "grid_scale", "grid_offset")})
    for grid in (images, resize(images, other)):
        height, width = grid.rgb.shape[1:3]
        assert width % 16 == 0 and height % 16 == 0
        for v, (w, h) in enumerate(sizes):
            scale, offset = grid.grid_scale[v], grid.grid_offset[v]
            assert abs(float(scale[0] / scale[1]) - 1) < 1.2 / min(w, h, *([] if keep else images.rgb.shape[1:3]))  # square up to whole pixels
            x = (torch.arange(width) + 0.5 - offset[0]) / scale[0] / w
            y = (torch.arange(height) + 0.5 - offset[1]) / scale[1] / h
            inside = ((y > 0) & (y < 1))[:, None] & ((x > 0) & (x < 1))
            on_edge = lambda c: (c.abs() < 1e-5) | ((c - 1).abs() < 1e-5)  # a centre on the photo's very edge may count either way
            clear = ~(on_edge(y)[:, None] | on_edge(x))
            assert ((grid.mask[v] != inside) & clear).float().mean() < (0.001 if keep else 0.1)
            margin = 2.5 / min(scale * torch.tensor([w, h])).item() + 2 / min(w, h)
            deep = ((y > margin) & (y < 1 - margin))[:, None] & ((x > margin) & (x < 1 - margin))
            got_x, got_y = grid.rgb[v, ..., 0], grid.rgb[v, ..., 1]
            off = torch.maximum((got_x - x).abs(), (got_y - y[:, None]).abs())
            assert float(off[deep].max() if deep.any() else 0) < (0.006 if keep else 0.012), (v, grid is images)


def test_mixed_sizes_share_a_grid(tmp_path):
    save(tmp_path / "1.png", smooth(300, 400))
    save(tmp_path / "2.png", smooth(400, 300))
    images = load_images(tmp_path, long_side=256)
    assert images.rgb.shape == (2, 256, 256, 3)
    assert images.mask.float().mean((1, 2)).tolist() == pytest.approx([0.75, 0.75], abs=0.01)
    assert images.grid_offset.tolist() == [[0, 32], [32, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "absent.jpg", "no such photo"),
        (lambda p: p, "holds no photos"),
        (lambda p: str(p / "*.jpg"), "no photo is named like"),
        (lambda p: save(p / "a.png", np.zeros((1, 1, 3), np.uint8)), "1 x 1 pixels, wanted at least 32"),
        (lambda p: save(p / "a.png", np.zeros((10, 60_000, 3), np.uint8)), "60000 x 10 pixels"),
        (lambda p: save(p / "a.png", np.zeros((40, 4000, 3), np.uint8)), "at most 8 times the short one"),
    ],
)  # fmt: skip
def test_photos_that_cannot_be_used(tmp_path, make, message):
    with pytest.raises(ReconError, match=message):
        load_images([make(tmp_path)])


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    import struct
    import zlib

    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ReconError, match="50000 x 50000 pixels, wanted at most 200 million"):
        load_images([tmp_path / "a.png"])
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_jpeg(tmp_path, sample_photos, share):
    data = sample_photos[0].read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ReconError, match="cannot be read as a photo"):
        load_images([tmp_path / "a.jpg"])


def test_a_text_file_called_jpg(tmp_path):
    (tmp_path / "a.jpg").write_text("not a picture")
    with pytest.raises(ReconError, match="it is no picture; allowed"):
        load_images([tmp_path / "a.jpg"])


def test_too_many_photos(tmp_path):
    path = save(tmp_path / "a.png", smooth(40, 40))
    with pytest.raises(ReconError, match="301 photos were given, wanted at most 300"):
        load_images([path] * 301)


@given(data=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_a_clear_error(data):
    for head in (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF\0\0\0\0WEBPVP8 "):
        with pytest.raises(ReconError):
            read_photo(head + data, "x")
