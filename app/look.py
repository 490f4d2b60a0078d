"""The look before the work: a thumbnail of each photo, what is wrong with them in one line each, and the time and memory the job will take."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from recon.app.job import RESOLUTION, RESOLUTIONS
from recon.app.limits import Limits
from recon.app.uploads import count_photos, safe_name

if TYPE_CHECKING:
    import numpy as np

    from recon.photos.decode import Photo
    from recon.scene import PhotoFile

    Features = tuple[np.ndarray, np.ndarray]  # places [n, 2], descriptors [n, 128]

LOOK_LONG_SIDE, THUMBNAIL = 512, 96
SIFT_FEATURES, RATIO = 1500, 0.8
LEAST_SHARED = 11  # matches of one epipolar geometry; of photos that have nothing in common chance makes up to 10 (tests/bench/web_overlap.py)
PIXEL, SURE, TRIES = 1.0, 0.999, 1000  # of the search for that geometry
ALL_PAIRS_UP_TO, NEIGHBOURS = 12, 3  # photos of which all pairs are compared; of more, these in order
SURFACE_SECONDS = 1.3  # of a view at 512 px on two cores, beside the cameras (README: 29 s for eight photos)
Tell = Callable[[str, float], None]


def look(paths: Sequence[str], resolution: int, frames: int, limits: Limits, *, tell: Tell) -> dict[str, Any]:
    """`photos`: name, thumbnail and number of its file each; `lines`: kind ("plan", "warning", "error", "smaller") and text each.

    Refused for files that are not taken, PhotoError for those that cannot be read.
    """
    from recon.photos.find import find_photos
    from recon.photos.video import is_video

    count = count_photos(paths, limits, frames)
    found = [(k, file) for k, path in enumerate(paths) if not is_video(path) for file in find_photos(path)]
    pictures, shown = [], []
    for number, (k, file) in enumerate(found):
        tell("looking at the photos", number / len(found))
        pictures.append(small(file))
        name = safe_name(file.member or file.path)
        shown.append({"name": name, "picture": thumbnail(pictures[-1].rgb), "file": k, "whole": not file.member})
    shown += [{"name": safe_name(path), "picture": "", "file": k, "whole": True} for k, path in enumerate(paths) if is_video(path)]
    videos = sum(map(is_video, paths))
    lines = [*faults(pictures, [file for _, file in found], alone=not videos), *plan_lines(count, resolution, bool(videos))]
    return {"photos": sorted(shown, key=lambda p: p["file"]), "lines": lines}


@lru_cache(maxsize=400)
def small(file: PhotoFile) -> Photo:
    """A photo of at most LOOK_LONG_SIDE, kept for the next look."""
    from recon.photos.decode import read_photo
    from recon.photos.find import content_of

    return read_photo(content_of(file), safe_name(file.member or file.path), long_side=LOOK_LONG_SIDE)


def thumbnail(rgb: np.ndarray) -> str:
    """A picture as a data URI: nothing of a user's upload is ever served from a file."""
    import cv2

    height, width = rgb.shape[:2]
    scale = THUMBNAIL / max(height, width)
    tiny = cv2.resize(rgb, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", tiny[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()


def faults(photos: Sequence[Photo], files: Sequence[PhotoFile], *, alone: bool) -> list[dict[str, Any]]:
    """What is wrong with the photos, by recon's own checks and by what they share. `alone`: there are no videos beside them."""
    from recon.errors import ReconError
    from recon.photos.checks import check_photos, photo_warnings
    from recon.photos.grid import images_of

    if not photos:
        return []
    lines = []
    if len(photos) == 1 and alone:
        lines.append("one photo has no parallax, so depth will be a guess: two or more from different places are better")
    images = images_of(photos, (), long_side=256)
    try:
        check_photos(images)
    except ReconError as error:
        return [{"kind": "error", "text": str(error)}]
    lines += photo_warnings(images)
    apart = lonely(photos)
    if apart and len(apart) == len(photos):
        lines.append("the photos hardly overlap: each should show much of what another one shows")
    else:
        lines += [f"{images.names[v]} hardly overlaps with the others and may not be placed" for v in apart]
    return [{"kind": "warning", "text": text} for text in lines]


def lonely(photos: Sequence[Photo]) -> list[int]:
    """Photos that share fewer than LEAST_SHARED details with each other one that was compared."""
    from recon.cameras.sift import sift_features

    count = len(photos)
    if count < 2:
        return []
    features = [sift_features(photo.rgb, max_features=SIFT_FEATURES) for photo in photos]
    reach = count if count <= ALL_PAIRS_UP_TO else NEIGHBOURS + 1
    best = [0] * count
    for i in range(count):
        for j in range(i + 1, min(count, i + reach)):
            common = shared(features[i], features[j])
            best[i], best[j] = max(best[i], common), max(best[j], common)
    return [v for v in range(count) if best[v] < LEAST_SHARED]


def shared(one: Features, other: Features) -> int:
    """Matches of two photos that fit one epipolar geometry."""
    import cv2
    import numpy as np

    from recon.cameras.sift import match_features

    found = match_features(one, other, ratio=RATIO)
    if len(found.xa) < 8:
        return 0
    cv2.setRNGSeed(0)
    a, b = (x.astype(np.float32) for x in (found.xa, found.xb))
    _, fits = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, PIXEL, SURE, TRIES)
    return 0 if fits is None else int(fits.sum())


def work_of(photos: int, resolution: int, video: bool) -> tuple[float, float]:
    """Seconds and GiB that a job will take here, about: recon's plan of the cameras, and the surfaces beside it."""
    import os

    from recon.cameras.plan import MOST_CORES, VIEW_BYTES, plan_work
    from recon.reconstruct import pick_device

    device = pick_device(None)
    plan = plan_work(photos, "sequence" if video else "auto", device)
    area = (resolution / RESOLUTION) ** 2
    cores = min(os.cpu_count() or 1, MOST_CORES)
    surfaces = 0.0 if device.startswith("cuda") else SURFACE_SECONDS * photos * area * 2 / cores
    return plan.seconds + surfaces, plan.gibibytes + max(0.0, area - 1) * photos * VIEW_BYTES / 2**30


def plan_lines(photos: int, resolution: int, video: bool) -> list[dict[str, Any]]:
    """The plan in words, and what would fit where it does not."""
    from recon.cameras.plan import free_gibibytes
    from recon.reconstruct import pick_device

    free = free_gibibytes(pick_device(None))
    seconds, gibibytes = work_of(photos, resolution, video)
    time = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    line = {"kind": "plan", "text": f"{photos} photo{'s' if photos > 1 else ''}: about {time} and {gibibytes:.1f} GiB on this machine"}
    if free is None or gibibytes <= free:
        return [line]
    smaller = [r for r in RESOLUTIONS if r < resolution and work_of(photos, r, video)[1] <= free]
    text = f"{gibibytes:.1f} GiB are needed and {free:.1f} are free"
    if smaller:
        return [line, {"kind": "smaller", "text": f"{text}: a resolution of {smaller[-1]} would fit", "resolution": smaller[-1]}]
    return [line, {"kind": "error", "text": f"{text}: give fewer photos"}]
