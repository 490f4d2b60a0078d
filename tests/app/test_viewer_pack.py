"""The viewer's folder: what view.bin and view.json say is the scene."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from viewer_scene import HEIGHT, NAMES, WIDTH, cameras, known_scene

from recon.app.view_pack import write_view
from recon.app.view_splats import CHUNK, UNKNOWN_VIEW, pack, splats_of
from recon.app.words import view_words
from recon.errors import ReconError
from recon.geometry import quats_to_matrices
from recon.io.content import no_cameras
from recon.scene import Cameras, Gaussians, Images, Scene


def unpack(blob: bytes, head: dict[str, Any]) -> dict[str, np.ndarray]:
    """view.bin by its description in app/view_splats.py, written anew."""
    a, b, at = [], [], 0
    for start in range(0, head["count"], head["chunk"]):
        n = min(head["chunk"], head["count"] - start)
        a.append(np.frombuffer(blob, "<u4", n * 4, at).reshape(n, 4))
        b.append(np.frombuffer(blob, "<u4", n * 2, at + n * 16).reshape(n, 2))
        at += n * 24
    assert at == len(blob)
    A, B = np.concatenate(a), np.concatenate(b)
    low, high = head["scale_log_range"]
    byte = lambda words, k: words >> 8 * k & 255
    quats = np.stack([byte(B[:, 1], k).astype(np.uint8).view(np.int8) * (0.5**0.5 / 127) for k in range(3)], 1)
    return {
        "positions": np.ascontiguousarray(A[:, :3]).view("<f4"), "rgba": np.stack([byte(A[:, 3], k) for k in range(4)], 1) / 255,
        "scales": np.exp(low + (high - low) * np.stack([byte(B[:, 0], k) for k in range(3)], 1) / 255),
        "quats": np.concatenate([np.sqrt(np.clip(1 - (quats**2).sum(1, keepdims=True), 0, None)), quats], 1),
        "view": byte(B[:, 0], 3) | B[:, 1] >> 31 << 8, "rank": (B[:, 1] >> 24 & 127) / 127,
    }  # fmt: skip


def packed(scene: Scene) -> tuple[dict[str, np.ndarray], dict[str, Any], np.ndarray]:
    """What the pack holds, what it says, and which Gaussian of the scene each row is."""
    splats = splats_of(scene)
    assert splats is not None
    blob, head = pack(splats)
    return unpack(blob, head), head, np.random.default_rng(0).permutation(head["count"])


def test_every_gaussian_is_there_within_the_digits_of_the_pack():
    scene = known_scene()
    g = scene.gaussians
    got, head, order = packed(scene)
    assert head["count"] == len(g) == 2 * WIDTH * HEIGHT
    assert np.array_equal(got["positions"], g.means.numpy()[order])
    color = (0.5 + 0.28209479177387814 * g.sh[:, 0]).numpy()[order]
    assert np.abs(got["rgba"][:, :3] - color).max() <= 0.5 / 255 + 1e-6
    assert np.abs(got["rgba"][:, 3] - g.opacities.numpy()[order]).max() <= 0.5 / 255 + 1e-6
    ratio = got["scales"] / g.scales.numpy()[order]
    step = (head["scale_log_range"][1] - head["scale_log_range"][0]) / 255
    assert np.mean(np.abs(np.log(ratio)) > step) < 0.002  # the extremes are held to the range
    axes, wanted = (quats_to_matrices(torch.as_tensor(q)).double().numpy() for q in (got["quats"], g.quats[order]))
    turned = np.abs(np.einsum("nij,nij->nj", axes, wanted))  # half a turn around an own axis leaves a Gaussian as it is
    assert turned.min() > np.cos(np.radians(1.0))
    assert np.array_equal(got["view"], np.repeat([0, 1], WIDTH * HEIGHT)[order])


def test_ranks_hide_equal_shares_the_least_sure_first():
    scene = known_scene()
    got, _, order = packed(scene)
    confidence = scene.pointmaps.confidence.flatten().numpy()[order]
    for share in (0.25, 0.5, 0.9):
        hidden = got["rank"] < share
        assert abs(hidden.mean() - share) < 0.02
        assert confidence[hidden].max() <= confidence[~hidden].min() * 1.02


def test_any_prefix_is_an_even_sample():
    got, _, _ = packed(known_scene())
    first, whole = got["positions"][:4000], got["positions"]
    assert np.abs(first.mean(0) - whole.mean(0)).max() < 0.05 and abs((got["view"][:4000] == 0).mean() - 0.5) < 0.03


def test_chunks_and_many_views():
    """More than a chunk, and more views than a byte holds; Gaussians whose origin nobody knows say so."""
    count = CHUNK + 7
    g = Gaussians(
        means=torch.randn(count, 3), quats=torch.nn.functional.normalize(torch.randn(count, 4), dim=1), scales=torch.full((count, 3), 0.1),
        opacities=torch.rand(count), sh=torch.randn(count, 16, 3),
    )  # fmt: skip
    splats = splats_of(Scene(cameras=no_cameras(), gaussians=g))
    assert splats is not None and splats.view is None and splats.sh_degree == 3
    assert (unpack(*pack(splats))["view"] == UNKNOWN_VIEW).all()
    views = np.arange(count) % 300
    blob, head = pack(replace(splats, view=views))
    assert np.array_equal(unpack(blob, head)["view"], views[np.random.default_rng(0).permutation(count)])


def test_values_that_cannot_be_drawn_are_left_out_with_their_origin():
    scene = known_scene()
    means = scene.gaussians.means.clone()
    means[5] = torch.nan
    got, head, _ = packed(replace(scene, gaussians=replace(scene.gaussians, means=means)))
    assert head["count"] == 2 * WIDTH * HEIGHT - 1 and np.isfinite(got["positions"]).all() and (got["view"] == 0).sum() == WIDTH * HEIGHT - 1


def test_the_folder_holds_what_the_head_names(tmp_path):
    write_view(known_scene(mesh=True), tmp_path / "view")
    head = json.loads((tmp_path / "view" / "view.json").read_text())
    assert head["modes"] == ["splats", "mesh", "points"] and head["mesh"] == "mesh.glb" and not head["metric"]
    assert (tmp_path / "view" / "view.bin").stat().st_size == 24 * head["count"]
    pictures = {view[key] for view in head["views"] for key in ("photo", "depth", "confidence_picture", "normals")}
    named = {"view.json", "view.bin", "mesh.glb", *pictures}
    assert named == {p.relative_to(tmp_path / "view").as_posix() for p in (tmp_path / "view").rglob("*") if p.is_file() and p.name != ".recon"}
    assert [view["name"] for view in head["views"]] == list(NAMES) and all("<" not in name for name in named)
    near, far = head["views"][0]["depth_range"]
    assert 1.9 < near < far < 4.5
    normals = np.asarray(Image.open(tmp_path / "view" / head["views"][0]["normals"]))
    wall = normals[20, 20, :3]
    assert np.abs(wall.astype(int) - (128, 128, 255)).max() <= 2  # it faces the camera


def test_cameras_are_told_exactly_and_in_pixels_of_the_photos(tmp_path):
    """Also in a scene of a thousandth of the size, and where photos of several shapes are padded to one grid."""
    scene = known_scene()
    small = cameras()
    small.cam_to_world[:, :3, 3] *= 1e-3
    images = replace(
        scene.images, photo_width=torch.tensor([400, 300]), photo_height=torch.tensor([300, 300]),
        grid_scale=torch.full((2, 2), 0.5), grid_offset=torch.tensor([[0.0, 0.0], [25.0, 0.0]]),
    )  # fmt: skip
    write_view(Scene(cameras=small, images=images, gaussians=scene.gaussians), tmp_path / "view")
    first, second = json.loads((tmp_path / "view" / "view.json").read_text())["views"]
    assert np.allclose(first["cam_to_world"], small.cam_to_world[0].numpy(), rtol=0, atol=1e-12)
    assert np.allclose(second["cam_to_world"], small.cam_to_world[1].numpy(), rtol=0, atol=1e-12)
    assert (first["width"], second["width"], second["height"]) == (400, 300, 300)
    assert np.allclose(second["K"], [[520, 0, 150], [0, 520, 150], [0, 0, 1]])
    assert Image.open(tmp_path / "view" / second["photo"]).size == (150, 150)  # without the padding


def test_unplaced_views_have_no_camera(tmp_path):
    scene = known_scene()
    T = scene.cameras.cam_to_world.clone()
    T[1] = torch.nan
    sure = torch.tensor([0.9, torch.nan])
    lost = Cameras(K=scene.cameras.K, cam_to_world=T, width=WIDTH, height=HEIGHT, placed_by=("matches", "unplaced"), confidence=sure)
    write_view(Scene(cameras=lost, images=scene.images, gaussians=scene.gaussians), tmp_path / "view")
    _, second = json.loads((tmp_path / "view" / "view.json").read_text())["views"]
    assert second["cam_to_world"] is None and second["K"] is None and second["words"][0].startswith("Could not be placed")


def test_scenes_of_points_or_meshes_alone(tmp_path):
    scene = known_scene(mesh=True)
    write_view(Scene(cameras=scene.cameras, images=scene.images, pointmaps=scene.pointmaps), tmp_path / "points")
    write_view(Scene(cameras=no_cameras(), mesh=scene.mesh), tmp_path / "mesh")
    points, mesh = (json.loads((tmp_path / name / "view.json").read_text()) for name in ("points", "mesh"))
    assert points["modes"] == ["points"] and points["count"] == 2 * WIDTH * HEIGHT and points["has_origin"]
    assert mesh["modes"] == ["mesh", "points"] and mesh["count"] == len(scene.mesh.vertices) and mesh["views"] == []


def test_a_scene_of_nothing_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ReconError, match="no Gaussians, points or mesh"):
        write_view(Scene(cameras=no_cameras()), tmp_path / "view")
    assert list(tmp_path.iterdir()) == []


def test_large_photos_are_made_small(tmp_path):
    picture = np.zeros((3000, 4000, 3), np.uint8)
    scene = known_scene()
    images = Images(rgb=scene.images.rgb, photos=(picture, picture), photo_width=torch.tensor([4000] * 2), photo_height=torch.tensor([3000] * 2))
    write_view(replace(scene, images=images), tmp_path / "view")
    assert Image.open(tmp_path / "view" / "photos" / "00.jpg").size == (1600, 1200)


def test_the_report_in_words():
    agreement = {"pnp_rotation_degrees": 0.41, "depth": 0.022, "points": 1452}
    words = view_words("a.jpg", "matches", 0.92, agreement, ["a.jpg is blurred", "aa.jpg is blurred", "x/a.jpg is blurred"])
    assert words == [
        "Placed by what it shares with the other photos; very sure (92 %).", "1,452 of its points are seen in other photos too.",
        "A second way of placing it differs by 0.4 degrees.", "The network's own depth differs from the matched points by 2.2 % (median).",
        "Warning: a.jpg is blurred",
    ]  # fmt: skip
    rough = "Placed roughly, by the network alone: it shares no reliable details with the other photos; hardly more than a guess (20 %)."
    assert view_words("b.jpg", "pointmap", 0.2, None, []) == [rough]
    assert view_words("c.jpg", "given", 1.0, None, []) == ["Stands where the given cameras say."]
    assert view_words("d.jpg", "matches", 1.0, None, [], alone=True) == ["The only photo: shape and depth are the network's guess."]


def test_report_json_says_the_same_as_the_scene(tmp_path):
    """`recon run` writes the comparison into each view's record."""
    scene = known_scene()
    record = {"views": [{"agreement": scene.report["agreement"][0]}, {"agreement": None}], "warnings": ["too dark"]}
    write_view(replace(scene, report={}), tmp_path / "view", report=record)
    head = json.loads((tmp_path / "view" / "view.json").read_text())
    assert head["warnings"] == ["too dark"] and any("1,452" in line for line in head["views"][0]["words"])
    assert Path(tmp_path / "view" / "photos" / "01.jpg").is_file()
