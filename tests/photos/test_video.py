"""Videos as photos: the sharp frames, spread by motion, the same ones every time."""

import cv2
import numpy as np
import pytest

from recon.photos.decode import PhotoError
from recon.photos.video import choose_frames, frames, videos_as_photos

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")


def pan(length: int, *, blurred=(), halt=(0, 0)) -> list[np.ndarray]:
    """A camera that pans over a picture, stands still for a while, and shakes at some frames."""
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (40, 200, 3), np.uint8), (1600, 240), interpolation=cv2.INTER_CUBIC)
    out, x = [], 0
    for k in range(length):
        x += 0 if halt[0] <= k < halt[1] else 6
        frame = picture[:, x : x + 320].copy()
        out.append(cv2.GaussianBlur(frame, (21, 1), 8) if k in blurred else frame)
    return out


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = imageio_ffmpeg.write_frames(str(path), (320, 240), fps=30, quality=9)
    writer.send(None)
    for frame in pan(60, blurred=range(1, 60, 2)):
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    return path


def test_blurred_frames_are_passed_over_and_a_halt_gives_few():
    chosen = choose_frames(pan(60, blurred=range(1, 60, 2)), 10)
    assert len(chosen) == 10 and chosen == sorted(chosen) and all(k % 2 == 0 for k in chosen)
    chosen = choose_frames(pan(90, halt=(30, 60)), 12)
    assert sum(30 <= k < 60 for k in chosen) <= 3 and len(chosen) >= 11
    assert choose_frames(pan(5), 10) == [0, 1, 2, 3, 4]


def test_a_video_becomes_a_folder_of_its_frames(clip):
    names = []
    for _ in range(2):
        with videos_as_photos([clip, "photo.jpg"], count=8) as (folder, photo):
            files = sorted(folder.iterdir())
            names.append([f.name for f in files])
            assert photo == "photo.jpg" and len(files) == 8
            assert cv2.imread(str(files[0])).shape == (240, 320, 3)
        assert not folder.exists()
    assert names[0] == names[1]
    with videos_as_photos([clip], step=20) as (folder,):
        assert [f.name for f in sorted(folder.iterdir())] == [f"clip_{k:06d}.png" for k in (0, 20, 40)]


def test_small_frames_keep_their_shape(clip):
    first = next(frames(clip, 160))
    assert first.shape == (120, 160, 3)


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(PhotoError, match=r"broken.mp4"), videos_as_photos([path]):
        pass
    with pytest.raises(PhotoError, match="wanted at least 1"), videos_as_photos([], count=0):
        pass
