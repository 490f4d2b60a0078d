"""SIFT matches: coordinates and the scale inside."""
import cv2
import numpy as np
import pytest

from recon.cameras.sift import sift_matches


def picture(height, width, seed=0):
    g = np.random.default_rng(seed)
    return cv2.resize(g.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_shift_is_found():
    image = picture(240, 320)
    matches = sift_matches(image[:, :-20], image[:, 20:])
    assert len(matches) > 50
    assert np.allclose(np.median(matches.xa - matches.xb, 0), [20, 0], atol=0.1)


def test_coordinates_are_in_the_pixels_given():
    """A photo of twice the size inside: x_b = x_a / 2 exactly when pixel centres are at one half."""
    big = picture(1024, 2048)
    small = cv2.resize(big, (1024, 512), interpolation=cv2.INTER_AREA)
    matches = sift_matches(big, small)
    assert len(matches) > 100
    assert np.allclose(np.median(matches.xa / 2 - matches.xb, 0), 0, atol=0.05)


def test_plain_images_give_no_matches():
    flat = np.full((64, 64, 3), 128, np.uint8)
    assert len(sift_matches(flat, flat)) == 0
    with pytest.raises(ValueError):
        sift_matches(flat.astype(float), flat)


def test_a_match_with_several_orientations_counts_once():
    from recon.cameras.sift import _unlike

    rng = np.random.default_rng(0)
    xa, xb = rng.integers(0, 6, (400, 2)) / 3 - 0.5, rng.integers(0, 6, (400, 2)) / 3
    _, first = np.unique(np.round(np.concatenate([xa, xb], 1), 2), axis=0, return_index=True)
    assert (_unlike(xa, xb) == first).all() and len(first) < 400
    assert len(_unlike(xa[:0], xb[:0])) == 0
