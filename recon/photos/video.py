"""Contains videos as photos: frames chosen by motion and sharpness, the same ones every time, written to a folder."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from recon.errors import ReconError
from recon.photos.decode import PhotoError

EXTENSIONS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
DEFAULT_FRAMES = 50
LOOK_LONG_SIDE = 160  # at which all frames are looked at
MOST_LOOKED_AT = 3000  # frames of a long video: every second, third, ... of it
STILL = 0.15  # of the median motion: what a frame adds at least, so that a halt is not left without frames


def is_video(path: str | Path) -> bool:
    """Whether the name says so."""
    return Path(path).suffix.lower() in EXTENSIONS


@contextlib.contextmanager
def videos_as_photos(paths: Sequence[str | Path], *, count: int = DEFAULT_FRAMES, step: int | None = None) -> Iterator[list[str | Path]]:
    """The paths with each video replaced by the folder of its frames, which is there as long as the context is.

    `count` frames a video, or every `step`-th one. Raises PhotoError for what cannot be read, ReconError where the package is missing.
    """
    if count < 1 or (step is not None and step < 1):
        raise PhotoError(f"{count} frames in steps of {step} were asked for, wanted at least 1")
    with tempfile.TemporaryDirectory(prefix="recon-frames-") as folder:
        out: list[str | Path] = []
        for number, path in enumerate(paths):
            if is_video(path) and Path(path).is_file():
                target = Path(folder) / f"{number}_{Path(path).stem}"
                target.mkdir()
                write_frames(Path(path), target, count=count, step=step)
                out.append(target)
            else:
                out.append(path)
        yield out


def write_frames(video: Path, folder: Path, *, count: int, step: int | None) -> list[Path]:
    """The chosen frames as PNG files named by their number in the video."""
    import cv2

    length = sum(1 for _ in frames(video, LOOK_LONG_SIDE))
    if not length:
        raise PhotoError(f"{video} holds no frame that can be read")
    stride = step or max(1, -(-length // MOST_LOOKED_AT))
    small = [frame for k, frame in enumerate(frames(video, LOOK_LONG_SIDE)) if k % stride == 0] if step is None else []
    chosen = set(range(0, length, step) if step is not None else [stride * k for k in choose_frames(small, count)])
    paths = []
    for k, frame in enumerate(frames(video, None)):
        if k in chosen:
            paths.append(folder / f"{video.stem}_{k:06d}.png")
            cv2.imwrite(str(paths[-1]), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return paths


def choose_frames(small: Sequence[np.ndarray], count: int) -> list[int]:  # [h, w, 3] uint8 each
    """Numbers of `count` frames: as much motion between each two of them, and of each such stretch the sharpest frame."""
    import cv2

    if len(small) <= count:
        return list(range(len(small)))
    grey = [cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY).astype(np.float32) for f in small]
    sharp = np.array([cv2.Laplacian(g, cv2.CV_32F).var() / (g.var() + 1) for g in grey])
    motion = np.array([math.hypot(*cv2.phaseCorrelate(a, b)[0]) + np.abs(a - b).mean() / 8 for a, b in pairwise(grey)])
    motion = np.maximum(motion, STILL * max(float(np.median(motion)), 1e-3))
    way = np.r_[0.0, motion.cumsum()]
    part = np.minimum((way / way[-1] * count).astype(int), count - 1)
    return [int(mine[sharp[mine].argmax()]) for k in range(count) if len(mine := np.flatnonzero(part == k))]


def frames(video: Path, long_side: int | None) -> Iterator[np.ndarray]:  # [h, w, 3] uint8 RGB each
    """All frames in order, the right way up, brought down to the long side where one is given."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ReconError(f"{video}: videos need the package imageio-ffmpeg (pip install 'recon[video]')") from error
    scale = [] if long_side is None else ["-vf", f"scale='if(gt(iw,ih),{long_side},-2)':'if(gt(iw,ih),-2,{long_side})':flags=area"]
    try:
        reader = imageio_ffmpeg.read_frames(str(video), pix_fmt="rgb24", output_params=scale)
        width, height = next(reader)["size"]  # type: ignore[index]
        for data in reader:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
    except (OSError, RuntimeError, KeyError, StopIteration, ValueError) as error:
        raise PhotoError(f"{video} cannot be read as a video: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
