"""Matches of two photos by SIFT: the classical witness beside a network's own matches."""

from __future__ import annotations

import numpy as np
import torch

from recon.cameras.pose import Matches
from recon.cameras.usable import filled

LONG_SIDE = 1024
BLOCK = 512  # rows of the similarity at a time on a processor
MOST_FEATURES = 8000  # the strongest; fewer cost accuracy where texture is faint


def sift_features(
    image: np.ndarray, keep: np.ndarray | None = None, *, max_features: int = MOST_FEATURES
) -> tuple[np.ndarray, np.ndarray]:  # [H, W, 3] uint8 RGB, [H, W] bool
    """Key points [n, 2] in pixels of `image` (centre of pixel (0, 0) at (0.5, 0.5)) and RootSIFT descriptors [n, 128] float32.

    What is not to be kept is filled, and points that reach into it are dropped. The long side is brought down to 1024 px inside.
    Lowe 2004; RootSIFT: Arandjelovic and Zisserman 2012. ValueError for another type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an RGB image [H, W, 3] of uint8 is needed, got {image.dtype} {image.shape}")
    import cv2

    height, width = image.shape[:2]
    grey = cv2.cvtColor(np.ascontiguousarray(image if keep is None else filled(image, keep)), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, LONG_SIDE / max(height, width))
    if scale < 1:
        grey = cv2.resize(grey, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    # a low contrast threshold: rooms and rendered objects have faint texture; the ratio test sorts it out
    points, descriptors = cv2.SIFT.create(nfeatures=max_features, contrastThreshold=0.01).detectAndCompute(grey, None)
    if not points:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    xy = np.asarray(cv2.KeyPoint.convert(points), float) + 0.5  # cv2 puts pixel centres at integers
    xy *= [width / grey.shape[1], height / grey.shape[0]]
    if keep is not None:
        room = cv2.distanceTransform(keep.astype(np.uint8), cv2.DIST_L2, 3)
        column, row = (np.clip(xy[:, k].astype(int), 0, n - 1) for k, n in enumerate((width, height)))
        inside = room[row, column] > [p.size * width / grey.shape[1] for p in points]
        xy, descriptors = xy[inside], descriptors[inside]
    descriptors /= np.maximum(descriptors.sum(1, keepdims=True), 1e-9)
    return xy, np.sqrt(descriptors)


def _nearest(da: torch.Tensor, db: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # [n, 128], [m, 128]
    """Of each row its best and second best similarity [n] and where the best is [n], and the best of each column [m].

    Unit descriptors: squared distance = 2 - 2 similarity. In blocks, as the whole similarity is 256 MB that no processor's cache holds.
    """
    best, second, forward = [], [], []
    backward = torch.full((len(db),), -torch.inf, device=da.device)
    for block in da.split(BLOCK if da.device.type == "cpu" else MOST_FEATURES):
        similarity = block @ db.T
        value, index = similarity.max(1)
        backward = torch.maximum(backward, similarity.amax(0))
        second.append(similarity.scatter_(1, index[:, None], -1.0).amax(1))
        best.append(value)
        forward.append(index)
    return torch.cat(best), torch.cat(second), torch.cat(forward), backward


def _unlike(xa: np.ndarray, xb: np.ndarray) -> np.ndarray:  # [n, 2] twice
    """The first of each group of matches at one place, in the order of places: a point with several orientations gives the same several times."""
    keys = np.rint(np.concatenate([xa, xb], 1) * 100).astype(np.int64)
    order = np.lexsort(keys.T[::-1])
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(keys[order], axis=0) != 0).any(1)
    return order[new]


def match_features(
    a: tuple[np.ndarray, np.ndarray | torch.Tensor], b: tuple[np.ndarray, np.ndarray | torch.Tensor], *, ratio: float = 0.85
) -> Matches:
    """Mutual nearest neighbours that pass Lowe's ratio test; confidence is one minus the ratio of distances, stretched to 0..1.

    a, b: key points [n, 2] and their descriptors [n, 128]; those of tensors are compared on their device.
    """
    (xa, da), (xb, db) = a, b
    if len(xa) < 2 or len(xb) < 2:
        return Matches(xa=np.zeros((0, 2)), xb=np.zeros((0, 2)), confidence=np.zeros(0), source="sift")
    best, second, forward, backward = _nearest(torch.as_tensor(da), torch.as_tensor(db))
    rows = (best == backward[forward]).nonzero()[:, 0]  # mutual: the largest of its column too
    columns = forward[rows]
    distance = lambda s: (2 - 2 * s).clamp(min=1e-12).sqrt()
    quotient = distance(best[rows]) / distance(second[rows])
    kept = quotient < ratio
    rows, columns, quotient = (x[kept].cpu().numpy() for x in (rows, columns, quotient.double()))
    unique = _unlike(xa[rows], xb[columns])
    return Matches(xa=xa[rows[unique]], xb=xb[columns[unique]], confidence=np.clip(1.25 * (1 - quotient[unique]), 0, 1), source="sift")


def sift_matches(image_a: np.ndarray, image_b: np.ndarray, *, max_features: int = MOST_FEATURES) -> Matches:
    """Sub-pixel matches of two uint8 RGB images, in pixels of the images given."""
    return match_features(sift_features(image_a, max_features=max_features), sift_features(image_b, max_features=max_features))
