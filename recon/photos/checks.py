"""What a person should know before trusting a reconstruction: blank, blurred or repeated photos, crops, views that nothing placed, no baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.errors import ReconError, listed

if TYPE_CHECKING:
    from recon.scene import Cameras, Images, Scene

BLUR_LONG_SIDE = 512
MOST_BLUR = 0.65  # of `blur` below: 98 sharp photos of all kinds have 0.09 to 0.59; softened by sigma = 3 px at this size, 0.7 and more
LEAST_RANGE = 3.0  # of 255, between the darkest and the brightest place: below it nothing can be seen
SAME_PHOTO = 0.025  # mean difference of two thumbnails by their contrast (standard deviation): 1.4 of 255 in a usual photo
ROUNDING, FAINT = 0.5, 0.08  # of 255 what saving again changes, believed up to this share of a faint photo's contrast
SAME_SHAPE = 0.02  # difference of two aspect ratios
CROP_CONFIDENCE = 0.3  # at most, of views whose principal point may be anywhere
LEAST_BASELINE = 0.01  # of the median depth
LEAST_CONFIDENCE = 0.25
MOST_NAMED = 20  # photos that an error tells of one by one


def blur(photo: np.ndarray) -> float:  # [h, w, 3] uint8
    """How little a photo changes when it is blurred once more, 0 (sharp) to 1 (Crete et al. 2007, "The blur effect", on luma)."""
    import cv2

    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = BLUR_LONG_SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    worst = 0.0
    for axis, size in ((0, (1, 9)), (1, (9, 1))):
        steps = np.abs(np.diff(grey, axis=axis))
        smooth_steps = np.abs(np.diff(cv2.blur(grey, size), axis=axis))
        lost = np.maximum(0, steps - smooth_steps).sum()
        worst = max(worst, float(1 - lost / max(steps.sum(), 1e-6)))
    return worst


def pictures(images: Images) -> list[np.ndarray]:  # [h, w, 3] uint8 each
    """The working copies of the photos, or what lies on the grid where there are none."""
    return list(images.photos) or [(rgb.cpu().clamp(0, 1).numpy() * 255).round().astype(np.uint8) for rgb in images.rgb]


def thumbnails(images: Images) -> list[np.ndarray]:  # [64, 64, 3] float 0..255 each
    import cv2

    return [cv2.resize(p.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA) for p in pictures(images)]


def same_photos(images: Images) -> list[tuple[int, int]]:
    """Pairs (i, j), j < i, of views that show the same photo: they differ by little of what there is to be seen in them."""
    small = thumbnails(images)
    contrast = [float(t.std((0, 1)).mean()) for t in small]
    limits = [max(SAME_PHOTO * c, min(ROUNDING, FAINT * c)) for c in contrast]
    pairs = [(i, j) for i in range(len(small)) for j in range(i)]
    return [(i, j) for i, j in pairs if float(np.abs(small[i] - small[j]).mean()) < min(limits[i], limits[j])]


def check_photos(images: Images) -> None:
    """Raises ReconError for photos in which nothing can be seen, and when all of several photos are the same one."""
    blank = [name for name, t in zip(images.names, thumbnails(images), strict=True) if float(np.ptp(t, (0, 1)).max()) < LEAST_RANGE]
    if blank:
        raise ReconError(f"nothing can be seen in {listed(blank)}: every pixel has the same colour; leave {'them' if len(blank) > 1 else 'it'} out")
    first = {i for i, j in same_photos(images) if j == 0}
    if len(images) > 1 and len(first) == len(images) - 1:
        raise ReconError(f"all {len(images)} photos are the same picture ({images.names[0]}); give photos from different places, or that one alone")


def refuse_strangers(scene: Scene) -> None:
    """Raises ReconError when matches hold not one of several views: nothing says that the photos show one scene."""
    if len(scene) > 1 and matched(scene) and not {"matches", "given"} & set(scene.cameras.placed_by):
        raise ReconError(
            f"no two of the {len(scene)} photos share reliable matches: they show different scenes, too different views of one, or surfaces "
            "without texture" + "".join(f"; {name}: {too_little(scene, v)}" for v, name in enumerate(scene_names(scene)[:MOST_NAMED]))
            + "; matches=\"none\" places them roughly, by the network alone"
        )


def scene_names(scene: Scene) -> Sequence[str]:
    """What the views are called."""
    return scene.images.names if scene.images is not None else [f"view {v}" for v in range(len(scene.cameras))]


def too_little(scene: Scene, view: int) -> str:
    """What a view shares with its best partner, in words that follow its name."""
    records = scene.report.get("partners") or []
    if not records:
        return "it shares too little with the other photos"
    r = records[view]
    if r["partner"] is None:
        return "it has no match in any other photo"
    fit = f"{r['agree']} of its {r['matches']} matches with its best partner {r['partner']} agree on one camera"
    return f"{fit} (about {r['needed']} are needed)" if r["agree"] < r["needed"] else f"{fit}, but nothing else holds it there"


def matched(scene: Scene) -> bool:
    """Whether the cameras were sought from matches; some networks place all views by their pointmaps and say so in the report."""
    return scene.report.get("cameras_from") != "pointmaps"


def photo_warnings(images: Images) -> list[str]:
    """One line for each remark of the reading, each blurred photo and each pair of photos that are the same."""
    lines = images.remarks.splitlines()
    for name, photo in zip(images.names, pictures(images), strict=True):
        amount = blur(photo)
        if amount > MOST_BLUR:
            lines.append(f"{name} is blurred ({amount:.2f}; sharp photos stay below {MOST_BLUR}): its matches and depth will be poor")
    for i, j in same_photos(images):
        lines.append(f"{images.names[i]} and {images.names[j]} are the same photo: depth needs photos from different places")
    return lines


def crops(images: Images, cameras: Cameras | None) -> list[int]:
    """Views that may be crops: of photos of several shapes those whose lens neither EXIF nor the caller tells."""
    long, short = (f(images.photo_width, images.photo_height).double() for f in (torch.maximum, torch.minimum))
    ratio = (long / short).tolist()
    if max(ratio) / min(ratio) - 1 < SAME_SHAPE:
        return []
    known = images.focal.isfinite().tolist() if cameras is None else (images.focal.isfinite() | cameras.K.cpu().isfinite().flatten(1).all(1)).tolist()
    return [v for v, told in enumerate(known) if not told]


def crop_warning(images: Images, views: list[int]) -> list[str]:
    """The line on views that may be crops."""
    if not views:
        return []
    names = [images.names[v] for v in views]
    return [
        f"the photos have several shapes, and nothing tells the lens of {listed(names)}: where they were cropped, the middle of the picture "
        "is not that of the lens, and focal lengths and places are wrong; give the whole photos, or the cameras that are known (cameras=...)"
    ]


def scene_warnings(scene: Scene) -> list[str]:
    """One line for each view placed by the network alone, hardly or not at all, and for cameras that stand in one place."""
    cameras = scene.cameras
    if len(cameras) < 2:
        return ["one photo has no parallax: shape and depth are the network's guess, without a true scale"]
    lines = []
    for v, (name, by, confidence) in enumerate(zip(scene_names(scene), cameras.placed_by, cameras.confidence.tolist(), strict=True)):
        if by == "unplaced":
            lines.append(f"{name} could not be placed: {too_little(scene, v)}")
        elif by == "pointmap" and matched(scene):
            lines.append(f"{name} shares no reliable matches with the other photos: placed roughly, by the network alone")
        elif confidence < LEAST_CONFIDENCE:
            lines.append(f"{name} is placed with a confidence of only {confidence:.2f}")
    lines += scene.report.get("doubts", [])
    ratio = baseline_ratio(scene)
    if ratio < LEAST_BASELINE:
        lines.append(f"the cameras stand nearly in one place (at most {100 * ratio:.2f} % of the depth apart): depth is the network's guess")
    return lines


def baseline_ratio(scene: Scene) -> float:
    """Largest distance of two placed cameras by the median depth; infinite where that is not known."""
    placed = scene.cameras.cam_to_world.isfinite().flatten(1).all(1)
    centres = scene.cameras.cam_to_world[placed, :3, 3].double()
    if len(centres) < 2 or scene.depth is None:
        return float("inf")
    depth = scene.depth[placed.to(scene.depth.device)]
    if scene.pointmaps is not None:
        depth = depth[scene.pointmaps.mask[placed.to(depth.device)]]
    depth = depth[depth.isfinite() & (depth > 0)]
    if not len(depth):
        return float("inf")
    return float((centres[:, None] - centres[None]).norm(dim=-1).max()) / max(float(depth.median()), 1e-12)
