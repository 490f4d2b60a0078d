"""The types: shapes are checked with a message that says got and wanted, defaults are filled in, selections keep what belongs together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from recon.errors import ReconError, ShapeError
from recon.geometry import project, unproject
from recon.scene import Cameras, Gaussians, Images, Mesh, Pointmaps, Rendering, Scene, Tracks


def cameras(views: int = 3, width: int = 8, height: int = 6) -> Cameras:
    T = torch.eye(4).repeat(views, 1, 1)
    T[:, 0, 3] = torch.arange(views)
    K = torch.tensor([[10.0, 0, width / 2], [0, 10.0, height / 2], [0, 0, 1]]).repeat(views, 1, 1)
    return Cameras(K=K, cam_to_world=T, width=width, height=height)


def gaussians(count: int = 5, bands: int = 4) -> Gaussians:
    quats = torch.nn.functional.normalize(torch.randn(count, 4), dim=1)
    opacities, sh = torch.rand(count), torch.randn(count, bands, 3)
    return Gaussians(means=torch.randn(count, 3), quats=quats, scales=torch.rand(count, 3), opacities=opacities, sh=sh)


def one_camera(**changes: Any) -> Cameras:
    return Cameras(**{"K": torch.eye(3)[None], "cam_to_world": torch.eye(4)[None], "width": 4, "height": 4, **changes})


def scene(views: int = 3, width: int = 8, height: int = 6) -> Scene:
    c = cameras(views, width, height)
    depth = torch.rand(views, height, width) + 1
    points = unproject(depth, c.K, c.cam_to_world)
    maps = Pointmaps(points=points, confidence=torch.ones(views, height, width), mask=torch.ones(views, height, width, dtype=torch.bool))
    return Scene(cameras=c, pointmaps=maps, images=Images(rgb=torch.rand(views, height, width, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: one_camera(K=torch.eye(3).repeat(2, 1, 1), cam_to_world=torch.eye(4).repeat(3, 1, 1)), r"\[3, 4, 4\], wanted \[V, 4, 4\] \(V=2\)"),
        (lambda: one_camera(width=0), "0 x 4 pixels"),
        (lambda: one_camera(placed_by=("magic",)), "placed_by"),
        (lambda: one_camera(photo_width=[3]), "wanted all or none"),
        (lambda: Images(rgb=torch.zeros(2, 4, 4)), r"Images.rgb is \[2, 4, 4\], wanted \[V, H, W, 3\]"),
        (lambda: Images(rgb=torch.zeros(1, 4, 4, 3), mask=torch.ones(1, 4, 4)), "wanted torch.bool"),
        (lambda: Images(rgb=torch.zeros(2, 4, 4, 3), names=("a",)), "Images.names has 1 entries, wanted V=2"),
        (lambda: gaussians(bands=3), r"\[5, 3, 3\], wanted \[N, K, 3\] with K one of"),
        (lambda: Mesh(vertices=torch.zeros(3, 3), faces=[[0, 1, 3]]), "holds 0 to 3, wanted 0 to 2"),
        (lambda: Pointmaps(points="x", confidence=torch.zeros(1, 2, 2), mask=torch.zeros(1, 2, 2, dtype=torch.bool)), "wanted a tensor"),
        (lambda: Rendering(color=torch.zeros(1, 2, 2, 3), depth=torch.zeros(1, 2, 3), alpha=torch.zeros(1, 2, 2)), "Rendering.depth"),
        (lambda: Scene(cameras=cameras(2), images=Images(rgb=torch.zeros(2, 5, 8, 3))), r"Scene.images is \[2, 5, 8, 3\], wanted \[2, 6, 8, 3\]"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(make, message):
    with pytest.raises(ShapeError, match=message):
        make()


def test_a_shape_error_is_a_recon_error_and_a_value_error():
    assert issubclass(ShapeError, ReconError) and issubclass(ShapeError, ValueError)


def test_arrays_and_lists_become_tensors():
    images = Images(rgb=np.zeros((1, 4, 5, 3)))
    assert images.rgb.dtype == torch.float32
    assert images.mask.all() and images.focal.isnan().all() and images.names == ("view_000",)
    assert images.photo_width.tolist() == [5] and images.grid_scale.tolist() == [[1, 1]]


@pytest.mark.parametrize("index", [1, slice(1, 3), [2, 0], np.array([True, False, True]), torch.tensor([0, 2])])
def test_selecting_views_keeps_what_belongs_together(index):
    c, rows = cameras(), torch.arange(3)[index if not isinstance(index, np.ndarray) else torch.from_numpy(index)].reshape(-1)
    part = c[index]
    assert torch.equal(part.cam_to_world, c.cam_to_world[rows]) and len(part.placed_by) == len(rows) and part.width == 8
    images = Images(rgb=torch.rand(3, 6, 8, 3), names=("a", "b", "c"))[index]
    assert images.names == tuple("abc"[i] for i in rows.tolist())


def test_selecting_gaussians_by_mask():
    g = gaussians()
    assert torch.equal(g[g.opacities > 0.5].means, g.means[g.opacities > 0.5])


def test_unknown_poses_are_unplaced():
    T = torch.eye(4).repeat(2, 1, 1)
    T[1] = torch.nan
    assert Cameras(K=torch.eye(3).repeat(2, 1, 1), cam_to_world=T, width=4, height=4).placed_by == ("given", "unplaced")


def test_depth_comes_from_points_and_cameras():
    s = scene()
    assert s.pointmaps is not None and s.depth is not None
    xy, z = project(s.pointmaps.points.flatten(1, 2), s.cameras.K, s.cameras.world_to_cam)
    assert torch.allclose(s.depth.flatten(1), z, atol=1e-5)
    assert torch.allclose(xy[0].reshape(6, 8, 2)[2, 3], torch.tensor([3.5, 2.5]), atol=1e-4)


def test_cameras_take_the_photos_sizes_from_the_images():
    images = Images(rgb=torch.zeros(1, 6, 8, 3), photo_width=[80], photo_height=[48], grid_scale=[[0.1, 0.125]], grid_offset=[[0, 1]])
    photo = Scene(cameras=cameras(1), images=images).cameras.for_photos()[0]
    assert (photo.width, photo.height) == (80, 48)
    point = torch.tensor([[[0.1, -0.05, 1.0]]])
    on_grid, on_photo = project(point, cameras(1).K)[0], project(point, photo.K)[0]
    assert torch.allclose(on_photo * images.grid_scale[0] + images.grid_offset[0], on_grid, atol=1e-5)


def test_a_track_without_points_has_no_length():
    tracks = Tracks(points=torch.zeros(0, 3), view=torch.zeros(0), point=torch.zeros(0), xy=torch.zeros(0, 2), error=torch.zeros(0))
    assert len(tracks) == 0


def test_moving_a_scene_moves_its_parts():
    moved = scene().to("meta")
    assert moved.pointmaps is not None and moved.images is not None
    assert moved.cameras.K.device.type == moved.pointmaps.points.device.type == moved.images.rgb.device.type == "meta"


def test_a_mesh_has_uvs_and_a_texture_or_neither():
    mesh = {"vertices": torch.zeros(3, 3), "faces": [[0, 1, 2]]}
    both = Mesh(**mesh, uvs=np.zeros((3, 2)), texture=torch.zeros(4, 5, 3))
    assert both.uvs is not None and both.uvs.dtype == torch.float32 and both.to("cpu").texture is both.texture
    for parts, word in (
        ({"uvs": torch.zeros(3, 2)}, "uvs but no texture"), ({"texture": torch.zeros(4, 5, 3)}, "texture but no uvs"),
        ({"uvs": torch.zeros(2, 2), "texture": torch.zeros(4, 5, 3)}, r"uvs is \[2, 2\], wanted \[P, 2\] \(P=3\)"),
        ({"uvs": torch.zeros(3, 2), "texture": torch.zeros(4, 5, 4)}, r"texture is \[4, 5, 4\], wanted \[h, w, 3\]"),
        ({"uvs": torch.zeros(3, 2), "texture": torch.zeros(0, 5, 3)}, "at least 1 x 1"),
        ({"uvs": torch.zeros(3, 2), "texture": torch.zeros(4, 5, 3, dtype=torch.uint8)}, "uint8, wanted floats"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=word):
            Mesh(**mesh, **parts)  # type: ignore[arg-type]


def whole_scene() -> Scene:
    s, mesh = scene(), Mesh(vertices=torch.randn(4, 3), faces=[[0, 1, 2]], normals=torch.nn.functional.normalize(torch.randn(4, 3), dim=1))
    tracks = Tracks(points=torch.randn(2, 3) + 3, view=[0, 1], point=[0, 1], xy=torch.rand(2, 2), error=torch.rand(2))
    return dataclasses.replace(s, mesh=mesh, tracks=tracks, gaussians=gaussians(), metric=True, offset=(100.0, 0.0, -2.0))


def test_a_scale_moves_everything_together():
    before = whole_scene()
    after = before.with_scale(2.5)
    assert before.pointmaps and before.tracks and before.gaussians and before.mesh and after.pointmaps and after.tracks and after.gaussians
    assert before.mesh.normals is not None and after.mesh is not None and after.mesh.normals is not None
    for points, moved in (  # what every camera sees stays where it was, 2.5 times as far away
        (before.pointmaps.points.flatten(0, 2), after.pointmaps.points.flatten(0, 2)), (before.tracks.points, after.tracks.points),
        (before.gaussians.means, after.gaussians.means), (before.mesh.vertices, after.mesh.vertices),
    ):  # fmt: skip
        xy, z = project(points, before.cameras.K, before.cameras.world_to_cam)
        xy_after, z_after = project(moved, after.cameras.K, after.cameras.world_to_cam)
        front = z > 0.1
        assert torch.allclose(xy_after[front], xy[front], rtol=1e-3, atol=1e-3) and torch.allclose(z_after, 2.5 * z, atol=1e-4)
    assert torch.allclose(after.gaussians.scales, 2.5 * before.gaussians.scales)
    assert torch.equal(after.gaussians.opacities, before.gaussians.opacities)
    assert torch.equal(after.mesh.normals, before.mesh.normals) and torch.equal(after.cameras.K, before.cameras.K)
    assert after.depth is not None and before.depth is not None and torch.allclose(after.depth, 2.5 * before.depth)
    assert after.offset == (250.0, 0.0, -5.0)


def test_metres_are_metres_only_as_long_as_that_is_known():
    before = whole_scene()
    assert before.with_scale(1.0).metric and not before.with_scale(2.0).metric and before.with_scale(2.0, metric=True).metric
    assert not dataclasses.replace(before, metric=False).with_scale(1.0).metric
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ReconError, match="wanted a positive number"):
            before.with_scale(factor)
