"""Pictures to files: what is written can be read back, and nothing half-written stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.errors import ReconError
from recon.render import video


def pictures(count: int, fail: bool = False) -> Iterator[np.ndarray]:
    for i in range(count):
        if fail and i == 2:
            raise ReconError("the third picture cannot be made")
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, : 8 + 8 * i] = (200, 100, 20)
        yield picture


def read_video(path: Path) -> list[np.ndarray]:
    import cv2

    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        fine, frame = capture.read()
        if not fine:
            return frames
        frames.append(frame[..., ::-1])


@pytest.mark.parametrize("ffmpeg", [True, False])
def test_mp4(tmp_path: Path, ffmpeg: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ffmpeg:
        monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
        monkeypatch.setattr("shutil.which", lambda name: None)
    video.write(pictures(5), tmp_path / "a.mp4", fps=10)
    frames = read_video(tmp_path / "a.mp4")
    assert len(frames) == 5 and {p.name for p in tmp_path.iterdir()} == {"a.mp4", ".recon"}
    for got, wanted in zip(frames, pictures(5), strict=True):
        assert np.abs(got.astype(int) - wanted).mean() < 8


def test_gif_png_and_folder(tmp_path: Path) -> None:
    video.write(pictures(4), tmp_path / "a.gif", fps=10)
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 1) == 4 and gif.size == (64, 48)
    video.write(pictures(1), tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), next(pictures(1)))
    files = video.write(pictures(3), tmp_path / "frames")
    assert (
        [f.name for f in files]
        == ["frame_0000.png", "frame_0001.png", "frame_0002.png"]
        == sorted(f.name for f in (tmp_path / "frames").glob("[!.]*"))
    )
    assert np.array_equal(np.asarray(Image.open(files[2])), list(pictures(3))[2])


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "frames"])
def test_nothing_half_written_stays(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReconError, match="third picture"):
        video.write(pictures(5, fail=True), tmp_path / name)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_wrong_targets_are_told(tmp_path: Path) -> None:
    for name, options, message in (
        ("a.avi", {}, "cannot be written: pictures go to .mp4"),
        ("a.mp4", {"width": 63}, "even sides, got 63 x 48"),
        ("a.png", {"frames": 3}, "holds one picture and 3 were asked for"),
    ):
        with pytest.raises(ReconError, match=message):
            video.check_target(tmp_path / name, **({"width": 64, "height": 48, "frames": 1} | options))
    with pytest.raises(ReconError, match="fps is 0"):
        video.write(pictures(1), tmp_path / "a.gif", fps=0)
