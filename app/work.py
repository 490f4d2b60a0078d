"""One job, in the worker's process: photos to a Scene, to the viewer's files, to words, and to the whole scene on disk for the downloads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app.downloads import offers
from recon.app.job import SEED, Job, mesh_lines, python_lines, shell_line
from recon.app.keeping import ABOUT, VIEW, keep
from recon.app.limits import nameless
from recon.app.meshing import can_mesh
from recon.app.words import headline, photo_words

if TYPE_CHECKING:
    from torch import nn

    from recon.scene import Images, Scene

Tell = Callable[[str, float], None]


def reconstruct(job: Job, folder: Path, *, tell: Tell) -> str:
    """Fills `folder` with view/ (the viewer's files), scene.npz, files.json and about.json; returns a line of words.

    Raises ReconError for what cannot be used.
    """
    from recon.cameras.plan import fitting_plan
    from recon.commands.output import told_warnings
    from recon.photos.grid import load_images
    from recon.photos.video import videos_as_photos
    from recon.reconstruct import pick_device

    started = time.perf_counter()
    tell("reading the photos", 0.0)
    with told_warnings() as told, videos_as_photos(job.photos, count=job.frames) as photos:
        images = load_images(photos, long_side=job.resolution, masks=job.masks)
        fitting_plan(len(images), job.pairs, pick_device(None))
        scene = scene_of(images, job, lambda text, share: tell(text, 0.05 + 0.85 * share) if share < 1 else None)
        tell("making the view", 0.92)
        record = report(scene, told, time.perf_counter() - started)
        put_down(scene, folder, record)
    about = {
        "headline": headline(record), "photos": photo_words(record), "report": record, "downloads": offers(scene),
        "reproduce": {
            "python": python_lines(job), "shell": shell_line(job), "mesh_python": mesh_lines(job), "mesh_shell": shell_line(job, mesh=True),
        },
    }  # fmt: skip
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    tell("done", 1.0)
    return about["headline"]


def put_down(scene: Scene, folder: Path, record: dict[str, Any]) -> None:
    """The viewer's files and the whole scene, written side by side: somebody waits for both."""
    from recon.app.view_pack import write_view

    with ThreadPoolExecutor(1) as beside:
        kept = beside.submit(keep, scene, folder)
        write_view(scene, folder / VIEW, report=record, mesh_later=can_mesh(scene))
        kept.result()


def scene_of(images: Images, job: Job, tell: Tell) -> Scene:
    """The scene of the photos, as the lines of `python_lines` make it."""
    from recon.cameras.known import told_cameras
    from recon.reconstruct import reconstruct as recon_reconstruct

    cameras = told_cameras(images, focal=job.focal, file=job.cameras)
    tell("loading the network", 0.0)
    net = network(job.model, job.weights)
    return recon_reconstruct(
        images, model=net, cameras=cameras, metric=job.metric, pairs=job.pairs, resolution=job.resolution, progress=tell, seed=SEED
    )


@lru_cache(maxsize=1)
def network(model: str, weights: Path | None) -> nn.Module:
    """The network, kept for the next job."""
    from recon.models import load_model
    from recon.reconstruct import pick_device

    return load_model(model, weights=weights, device=pick_device(None))


def report(scene: Scene, told: list[str], seconds: float) -> dict[str, Any]:
    """What came out, as values that JSON can hold."""
    from recon.commands.output import finite
    from recon.commands.run import facts

    warnings = list(dict.fromkeys(map(nameless, [*scene.report.get("warnings", []), *told])))
    return finite({**facts(scene), "warnings": warnings, "seconds": {"total": round(seconds, 2)}})
