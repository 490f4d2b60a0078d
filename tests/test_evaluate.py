"""Figures with a known answer."""
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon import evaluate as ev


def poses(count, seed=0):
    g = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(g.normal(size=(count, 3)) * 0.3).as_matrix()
    T[:, :3, 3] = g.normal(size=(count, 3))
    return T


def test_auc_is_the_exact_area():
    assert ev.auc([0, 0], 5) == 1
    assert ev.auc([2.5], 5) == pytest.approx(0.5)
    assert ev.auc([1, 4, np.inf, np.nan], 5) == pytest.approx((0.8 + 0.2) / 4)
    assert np.isnan(ev.auc([], 5))


@pytest.mark.parametrize("degrees", [0.001, 3, 90, 179.9])
def test_rotation_error(degrees):
    R = Rotation.from_rotvec([0, np.radians(degrees), 0]).as_matrix()
    assert ev.rotation_error_degrees(R, np.eye(3)) == pytest.approx(degrees, rel=1e-3)


def test_direction_error_keeps_the_sign():
    assert ev.direction_error_degrees([1, 0, 0], [-2, 0, 0]) == pytest.approx(180)
    assert ev.direction_error_degrees([1, 1, 0], [2, 0, 0]) == pytest.approx(45)


def test_pose_and_centre_errors_ignore_a_similarity():
    T = poses(6)
    S = np.eye(4)
    S[:3, :3] = Rotation.from_rotvec([0.3, 1, -2]).as_matrix()
    S[:3, 3] = [4, 5, 6]
    moved = T.copy()
    moved[:, :3, 3] *= 3
    moved = S @ moved
    assert max(ev.pose_errors(moved[:2], T[:2])) < 1e-4
    assert ev.camera_centre_errors(moved, T).max() < 1e-9
    moved[2] = np.nan
    errors = ev.camera_centre_errors(moved, T)
    assert np.isinf(errors[2]) and np.delete(errors, 2).max() < 1e-9


def test_depth_absrel_has_one_scale():
    z = np.random.default_rng(0).uniform(1, 5, (8, 9))
    assert ev.depth_absrel(z * 7, z) < 1e-12
    z[0, 0] = 0
    assert ev.depth_absrel(np.where(z == 0, 99, z), z) < 1e-12
    assert np.isnan(ev.depth_absrel(z, z * 0))


def test_sample_puts_centres_at_one_half():
    image = np.arange(12.0).reshape(3, 4)
    assert np.allclose(ev.sample(image, np.array([[0.5, 0.5], [2.0, 1.5], [3.5, 2.5]])), [0, 5.5, 11])
    assert np.isnan(ev.sample(image, np.array([[5.0, 1.0]]))).all()


def write_set(root, count=4):
    folder = root / "kind" / "box"
    (folder / "images").mkdir(parents=True)
    (folder / "depth").mkdir()
    T, records = poses(count, 1), []
    K = [[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]]
    for i in range(count):
        cv2.imwrite(str(folder / f"images/{i}.png"), np.zeros((48, 64, 3), np.uint8))
        z = np.add.outer(np.linspace(1, 2, 48), np.linspace(0, 1, 64))
        np.savez(folder / f"depth/{i}.npz", depth=z)
        records.append({"image": f"images/{i}.png", "K": K, "T_world_from_cam": T[i].tolist(), "depth": f"depth/{i}.npz"})
    (folder / "cameras.json").write_text(json.dumps(records))
    (root / "pairs.json").write_text(json.dumps({"box": {"images": [], "neighbours": [[0, 1], [2, 3]]}}))
    return T


def perfect(T):
    def reconstruct(paths):
        index = [int(p.stem) for p in paths]
        K = np.tile(np.array([[50, 0, 32], [0, 50, 24], [0, 0, 1.0]]), (len(index), 1, 1))
        depth = np.stack([np.add.outer(np.linspace(1, 2, 48), np.linspace(0, 1, 64))] * len(index)) * 3
        cameras = SimpleNamespace(K=K, cam_to_world=T[index], for_photos=lambda: [SimpleNamespace(K=k[None]) for k in K])
        images = SimpleNamespace(grid_scale=np.ones((len(index), 2)), grid_offset=np.zeros((len(index), 2)))
        return SimpleNamespace(cameras=cameras, depth=depth, images=images)

    return reconstruct


def test_a_perfect_reconstruction_scores_perfectly(tmp_path):
    T = write_set(tmp_path)
    lines = []
    table = ev.evaluate(tmp_path, perfect(T), views=4, progress=lines.append)
    row = table["neighbours"]["mean"]
    assert row["auc5"] > 0.999 and row["focal_error"] < 1e-9 and row["depth_absrel"] < 1e-6 and row["failed"] == 0
    assert table["views"]["mean"]["centre_error"] < 1e-9 and table["views"]["mean"]["placed"] == 1
    assert len(lines) == 2


def test_a_failure_is_a_row(tmp_path):
    write_set(tmp_path)

    def broken(paths):
        raise RuntimeError("no")

    table = ev.evaluate(tmp_path, broken, views=2)
    assert table["neighbours"]["mean"]["auc30"] == 0 and table["neighbours"]["pairs"][0]["error"] == "RuntimeError: no"
    assert "error" in table["views"]["sets"][0]


def test_unknown_sets_are_named(tmp_path):
    write_set(tmp_path)
    with pytest.raises(ValueError, match="box"):
        ev.evaluate(tmp_path, perfect(None), sets=["cat"])
    with pytest.raises(ValueError, match=r"no cameras\.json"):
        ev.evaluate(tmp_path / "kind" / "box" / "images", perfect(None))
