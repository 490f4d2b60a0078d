"""Job: what someone asked for, as plain values; and the lines that ask recon for the very same thing without the page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recon.app.limits import Refused

RESOLUTIONS = (320, 512, 768, 1024)
MODEL, RESOLUTION, FRAMES, SEED = "recon-small", 512, 50, 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One reconstruction. Paths are copies in the result's own folder."""

    photos: tuple[Path, ...]  # photos, videos and archives in order
    model: str = MODEL
    weights: Path | None = None  # the server's own file for this model
    resolution: int = RESOLUTION
    focal: str = ""  # "28mm" or "1200px"
    cameras: Path | None = None
    masks: Path | None = None  # a folder
    metric: bool = False  # the places in `cameras` are in metres
    frames: int = FRAMES  # of each video

    def __post_init__(self) -> None:
        if not 64 <= self.resolution <= 4096:
            raise Refused(f"the resolution is {self.resolution}, wanted 64 to 4096")
        if self.focal and self.cameras is not None:
            raise Refused("give a focal length or a file of cameras, not both")
        if self.metric and self.cameras is None:
            raise Refused("places in metres are those of a file of cameras, and none was given")
        if not 1 <= self.frames <= 300:
            raise Refused(f"{self.frames} frames of a video were asked for, wanted 1 to 300")

    @property
    def has_video(self) -> bool:
        from recon.photos.video import is_video

        return any(is_video(path) for path in self.photos)

    @property
    def pairs(self) -> Literal["sequence", "auto"]:
        """Frames of a video lie in order; `recon run` decides likewise."""
        return "sequence" if self.has_video else "auto"


def python_lines(job: Job) -> str:
    """A program that gives this very result, run beside the photos."""
    names = ", ".join(repr(p.name) for p in job.photos)
    masks = f", masks={job.masks.name!r}" if job.masks else ""
    lines, known = ["import recon", ""], ""
    where = f"[{names}]"
    if job.has_video:
        lines += ["from recon.photos.video import videos_as_photos", "", f"with videos_as_photos({where}, count={job.frames}) as photos:"]
        where = "photos"
    indent = "    " if job.has_video else ""
    lines.append(f"{indent}images = recon.load_images({where}, long_side={job.resolution}{masks})")
    if job.focal:
        lines.append(f"cameras = recon.cameras_of_focal({job.focal!r}, images)")
    elif job.cameras:
        lines.append(f"cameras = recon.read_cameras({job.cameras.name!r}, images)")
    if job.focal or job.cameras:
        known = ", cameras=cameras" + (", metric=True" if job.metric else "")
    options = f"model={job.model!r}{', weights=' + repr(job.weights.name) if job.weights else ''}{known}"
    options += f", pairs={job.pairs!r}" if job.has_video else ""
    lines.append(f"scene = recon.reconstruct(images, {options}, resolution={job.resolution}, seed={SEED})")
    lines += ['recon.save(scene, "scene.ply")', 'recon.save(scene, "scene.glb")']
    return "\n".join(lines) + "\n"


def mesh_lines(job: Job) -> str:
    """The program, to a mesh as the page's download."""
    scene = python_lines(job).partition("recon.save(")[0]
    imports = "import recon\nfrom recon.meshes.upright import find_up, mesh_alone\n"
    save = 'recon.save(mesh_alone(scene, mesh, find_up(scene, mesh)), "mesh.glb")'
    return scene.replace("import recon\n", imports, 1) + f"mesh = recon.fuse(scene)\n{save}\n"


def shell_line(job: Job, *, mesh: bool = False) -> str:
    """The command that gives this very result, or its mesh, run beside the photos."""
    command, target = ("mesh", "mesh.glb") if mesh else ("run", "out")
    words = ["recon", command, *(_word(p.name) for p in job.photos), "-o", target, "--model", job.model]
    if job.weights:
        words += ["--weights", job.weights.name]
    if job.focal:
        words += ["--focal", job.focal]
    if job.cameras:
        words += ["--cameras", _word(job.cameras.name), *(["--metric"] if job.metric else [])]
    if job.masks:
        words += ["--masks", _word(job.masks.name)]
    if job.has_video:
        words += ["--frames", str(job.frames)]
    if mesh and job.cameras:
        words += ["--up", "auto"]  # with known cameras the command would keep their world
    return shlex.join([*words, "--resolution", str(job.resolution), "--seed", str(SEED)])


def _word(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name
