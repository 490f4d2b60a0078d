"""Pictures to a file that others can look at: mp4, mov, gif, one picture, or a folder of png files. Written whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.io.guard import Guard

PICTURES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}  # -> Pillow's name
VIDEOS = {".mp4": "mp4", ".mov": "mov"}  # -> ffmpeg's name
SUFFIXES = (*VIDEOS, ".gif", *PICTURES)


def kind_of(path: Path) -> str:
    """ "video", "gif", "picture" or "folder" (a name without an ending). Raises ReconError for another ending."""
    if not path.suffix:
        return "folder"
    if path.suffix.lower() not in SUFFIXES:
        raise ReconError(f"{path} cannot be written: pictures go to {', '.join(SUFFIXES)} or to a folder (a name without an ending)")
    ending = path.suffix.lower()
    return "video" if ending in VIDEOS else "picture" if ending in PICTURES else "gif"


def check_target(path: Path, *, width: int, height: int, frames: int, transparent: bool = False, guard: Guard | None = None) -> None:
    """Raises ReconError for what `write` could not do or may not replace, before anything is rendered."""
    kind = kind_of(path)
    if kind == "video" and (width % 2 or height % 2):
        raise ReconError(f"{path}: a video has even sides, got {width} x {height}")
    if kind == "picture" and frames != 1:
        raise ReconError(f"{path} holds one picture and {frames} were asked for; give a folder, .mp4 or .gif, or no number of frames")
    if transparent and not (kind == "folder" or path.suffix.lower() in (".png", ".webp")):
        raise ReconError(f"{path} cannot be transparent: .png, .webp and folders can")
    if kind != "folder" and path.is_dir():
        raise ReconError(f"{path} is a folder")
    if kind == "folder" and path.is_file():
        raise ReconError(f"{path} is a file, wanted a folder")
    names = [_frame(i) for i in range(frames)]
    (guard or Guard()).check(path if kind == "folder" else path.parent, names if kind == "folder" else [path.name])


def write(pictures: Iterable[np.ndarray], path: Path, *, fps: float = 30.0, guard: Guard | None = None) -> list[Path]:
    """The files written from uint8 RGB pictures [H, W, 3], which are taken one at a time. Raises ReconError; then nothing is left behind."""
    guard = guard or Guard()
    kind = kind_of(path)
    if not fps > 0:
        raise ReconError(f"fps is {fps}, wanted above 0")
    folder = path if kind == "folder" else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{path.stem}.{os.getpid()}.part"
    try:
        if kind == "folder":
            return _write_folder(pictures, path, part, guard)
        writer = {"video": _write_video, "gif": _write_gif, "picture": _write_picture}[kind]
        writer(iter(pictures), part, fps, path.suffix.lower())
        guard.publish(folder, {path.name: part})
        return [path]
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _frame(number: int) -> str:
    return f"frame_{number:04d}.png"


def _write_folder(pictures: Iterable[np.ndarray], path: Path, part: Path, guard: Guard) -> list[Path]:
    from PIL import Image

    part.mkdir()
    names = []
    for i, picture in enumerate(pictures):
        names.append(_frame(i))
        Image.fromarray(picture).save(part / names[-1])
    guard.publish(path, {name: part / name for name in names})
    return [path / name for name in names]


def _write_picture(pictures: Iterator[np.ndarray], part: Path, fps: float, ending: str) -> None:
    from PIL import Image

    Image.fromarray(next(pictures)).save(part, format=PICTURES[ending], quality=95)


def _write_gif(pictures: Iterator[np.ndarray], part: Path, fps: float, ending: str) -> None:
    from PIL import Image

    frames = [Image.fromarray(p).quantize(256) for p in pictures]
    frames[0].save(part, format="gif", save_all=True, append_images=frames[1:], duration=max(20, round(1000 / fps)), loop=0)


def _write_video(pictures: Iterator[np.ndarray], part: Path, fps: float, ending: str) -> None:
    first = next(pictures)
    height, width = first.shape[:2]
    try:
        import imageio_ffmpeg

        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        _write_mp4_opencv(first, pictures, part, fps)
        return
    command = [
        ffmpeg, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-",
        "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", VIDEOS[ending], str(part),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            process.stdin.write(first.tobytes())
            for picture in pictures:
                process.stdin.write(picture.tobytes())
            process.stdin.close()
        except BrokenPipeError:  # ffmpeg has given up; what it says is told below
            pass
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait():
            raise ReconError(f"ffmpeg could not write the video: {said.splitlines()[-1] if said else 'no reason given'}")


def _write_mp4_opencv(first: np.ndarray, pictures: Iterator[np.ndarray], part: Path, fps: float) -> None:
    import cv2

    named = part.with_suffix(".part.mp4")  # OpenCV chooses the container by the name's ending
    size = (first.shape[1], first.shape[0])
    writer: Any = cv2.VideoWriter(str(named), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    try:
        if not writer.isOpened():
            raise ReconError("no video can be written here: pip install imageio-ffmpeg, or choose a folder or a .gif")
        writer.write(first[..., ::-1])
        for picture in pictures:
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
        writer.release()
        os.replace(named, part)
    finally:
        writer.release()
        named.unlink(missing_ok=True)
