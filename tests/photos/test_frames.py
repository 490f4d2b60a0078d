"""Several pictures in one file, few bits in many, and photos in which nothing can be seen."""

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

import recon
from recon.errors import ReconError
from recon.photos.checks import check_photos, same_photos
from recon.photos.decode import read_photo
from recon.photos.grid import load_images
from recon.photos.tones import to_8_bits


def view(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def mpo(path: Path, first: Image.Image, *more: Image.Image) -> Path:
    first.save(path, "MPO", save_all=True, append_images=list(more), quality=95)
    return path


def like(images: recon.Images, seeds: list[int]) -> bool:
    """The photos are these views, in this order."""
    return len(images) == len(seeds) and all(
        np.abs(photo.astype(int) - np.asarray(view(seed))).mean() < 4 for photo, seed in zip(images.photos, seeds, strict=True)
    )


@pytest.mark.parametrize("name", ["pair.mpo", "pair.jpg"])
def test_both_pictures_of_a_stereo_file(tmp_path, name):
    path = mpo(tmp_path / name, view(0), view(1))
    images = load_images(path, long_side=64)
    assert like(images, [0, 1]) and images.names == (f"pair_1{path.suffix}", f"pair_2{path.suffix}")
    assert [f.picture for f in images.files] == [0, 1] and not any(f.plain for f in images.files) and images.remarks == ""


def test_stereo_files_in_folders_and_archives(tmp_path):
    mpo(tmp_path / "a.mpo", view(0), view(1))
    mpo(tmp_path / "b.MPO", view(2), view(3))
    assert like(load_images(tmp_path, long_side=64), [0, 1, 2, 3])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "b.MPO", "x/b.MPO")
    assert like(load_images(tmp_path / "all.zip", long_side=64), [2, 3])


def marked(image: Image.Image, text: bytes) -> Image.Image:
    image.info["comment"] = text
    return image


@pytest.mark.parametrize(
    "second",
    [
        view(1, 80, 60), view(1).convert("L"), view(1, 80, 60).convert("L"), marked(view(1), b"<x hdrgm:Version='1.0'/>"),
        marked(view(1), b"urn:iso:std:iso:ts:21496:-1"), marked(view(1), b"GDepth:Format"),
    ],
    ids=["preview", "depth", "gain map", "Ultra HDR", "ISO gain map", "GDepth"],
)  # fmt: skip
def test_previews_gain_and_depth_maps_are_left_out(tmp_path, second):
    """As phones write them; the file stays what other programs can use."""
    images = load_images(mpo(tmp_path / "a.jpg", view(0), second), long_side=64)
    assert like(images, [0]) and images.names == ("a.jpg",) and images.files[0].plain


def test_every_page_of_a_tiff(tmp_path):
    view(0).save(tmp_path / "a.tif", save_all=True, append_images=[view(1), view(2)])
    assert like(load_images(tmp_path / "a.tif", long_side=64), [0, 1, 2])


def test_reduced_pages_of_a_tiff_are_left_out(tmp_path):
    reduced = TiffImagePlugin.ImageFileDirectory_v2()
    reduced[254] = 1
    stream = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(stream) as out:
        for image, tags in ((view(0), None), (view(1), reduced), (view(2, 40, 32), None), (view(3), None)):
            image.save(out, "TIFF", **({"tiffinfo": tags} if tags else {}))
            out.newFrame()
    (tmp_path / "a.tif").write_bytes(stream.getvalue())
    assert like(load_images(tmp_path / "a.tif", long_side=64), [0, 3])


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_animations(tmp_path, name):
    view(0).save(tmp_path / name, save_all=True, append_images=[view(1), view(2)], **({"lossless": True} if name == "a.webp" else {}))
    images = load_images(tmp_path / name, long_side=64)
    assert like(images, [0]) and f"{name} is an animation of 3 pictures, and only the first is used" in images.remarks
    assert like(load_images(tmp_path / name, long_side=64, all_frames=True), [0, 1, 2])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sensors_of_fewer_bits_fill_the_range(tmp_path, bits):
    grey = np.asarray(view(0))[..., 1].astype(np.uint16)
    full = 2**bits - 1
    deep = (grey.astype(float) / grey.max() * full).round().astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    cv2.imwrite(str(tmp_path / "a.tif"), np.repeat(deep[..., None], 3, 2))
    for name in ("a.png", "a.tif"):
        photo = read_photo(tmp_path / name, name)
        assert np.abs(photo.rgb[..., 0].astype(int) - grey.astype(float) / grey.max() * 255).max() <= 1 and photo.remark == ""


def test_the_narrow_band_of_a_thermal_camera_is_stretched_and_said(tmp_path):
    grey = np.asarray(view(0))[..., 1]
    cv2.imwrite(str(tmp_path / "a.png"), (27000 + grey.astype(np.uint16) * 2))
    images = load_images(tmp_path / "a.png", long_side=64)
    assert images.photos[0].min() < 3 and images.photos[0].max() > 252 and "a.png: its values span 27" in images.remarks


def test_bits_alone():
    assert to_8_bits(np.zeros((4, 4), np.uint16))[0].max() == 0
    assert to_8_bits(np.full((4, 4), 65535, np.uint16))[0].min() == 255
    assert to_8_bits(np.array([[0, 4095]], np.uint16))[0].tolist() == [[0, 255]]


def faint(seed: int, level: int, contrast: float) -> np.ndarray:
    return np.clip(level + (np.asarray(view(seed)).astype(float) - 128) * contrast, 0, 255).round().astype(np.uint8)


def test_copies_are_told_by_what_is_to_be_seen(tmp_path):
    """Two photos of low contrast are no copies; the same photo saved again is one at any contrast."""
    for contrast in (1.0, 0.1, 0.05):
        for name, seed in (("a.png", 0), ("b.png", 1)):
            Image.fromarray(faint(seed, 40, contrast)).save(tmp_path / name)
        Image.fromarray(faint(0, 40, contrast)).save(tmp_path / "c.jpg", quality=97)
        assert same_photos(load_images([tmp_path / n for n in ("a.png", "b.png")], long_side=64)) == []
        if contrast > 0.05:
            assert same_photos(load_images([tmp_path / n for n in ("a.png", "b.png", "c.jpg")], long_side=64)) == [(2, 0)]


@pytest.mark.parametrize("noise", [0, 3])
@pytest.mark.parametrize("level", [0, 255, 130])
def test_photos_in_which_nothing_can_be_seen(tmp_path, level, noise):
    random = np.random.default_rng(0)
    pixels = np.clip(level + random.normal(0, noise, (480, 640, 3)), 0, 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "dark.png")
    view(0).save(tmp_path / "fine.png")
    images = load_images(tmp_path, long_side=64)
    with pytest.raises(ReconError, match=r"nothing can be seen in dark.png: every pixel has the same colour; leave it out"):
        check_photos(images)
    check_photos(load_images(tmp_path / "fine.png", long_side=64))


def test_images_without_working_copies_are_checked_too():
    images = recon.Images(rgb=np.full((2, 64, 64, 3), 0.5))
    with pytest.raises(ReconError, match="nothing can be seen in view_000, view_001"):
        recon.reconstruct(images, weights="random")
