"""Scenes and options that no mesh can be made of: one clear error each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from known_shapes import sphere_scene  # pyright: ignore[reportMissingImports]

import recon
from recon.errors import ReconError
from recon.io.content import no_cameras
from recon.meshes import with_open3d
from recon.meshes.cleanup import CleanUp
from recon.scene import Pointmaps, Scene, Tracks

pytestmark = pytest.mark.usefixtures("open3d")

SCENE = sphere_scene()
assert SCENE.depth is not None and SCENE.pointmaps is not None and SCENE.images is not None
DEPTH, MAPS, IMAGES = SCENE.depth, SCENE.pointmaps, SCENE.images
NONE = torch.zeros(0, dtype=torch.int64)
PIXEL = (torch.arange(160) == 80) & (torch.arange(120) == 60)[:, None]


def points(count: int) -> Tracks:
    return Tracks(points=torch.zeros(count, 3), view=NONE, point=NONE, xy=torch.zeros(0, 2), error=torch.zeros(count))


def masked() -> Pointmaps:
    return replace(MAPS, mask=torch.zeros_like(MAPS.mask))


BAD: dict[str, tuple[Scene, dict[str, Any], str]] = {
    "empty": (Scene(cameras=no_cameras()), {}, "holds nothing to make a mesh of"),
    "one point": (Scene(cameras=no_cameras(), tracks=points(1)), {}, "1 points are too few"),
    "points in one place": (Scene(cameras=no_cameras(), tracks=points(100)), {}, "one place|cannot be found"),
    "points by tsdf": (Scene(cameras=no_cameras(), tracks=points(100)), {"method": "tsdf"}, "needs depth or Gaussians"),
    "all masked": (replace(SCENE, pointmaps=masked()), {}, "all pixels are masked"),
    "masked photos": (replace(SCENE, images=replace(IMAGES, mask=torch.zeros_like(IMAGES.mask))), {}, "all pixels are masked"),
    "NaN": (replace(SCENE, depth=torch.full_like(DEPTH, torch.nan)), {}, "all pixels are masked, sky or unsure"),
    "infinite": (replace(SCENE, depth=torch.full_like(DEPTH, torch.inf)), {}, "all pixels are masked, sky or unsure"),
    "nobody placed": (replace(SCENE, cameras=replace(SCENE.cameras, placed_by=("unplaced",) * len(SCENE))), {}, "none of the scene's 14 views"),
    "one pixel a view": (replace(SCENE, depth=torch.where(PIXEL, DEPTH, 0)), {}, "no face of the mesh|no surface"),
    "one pixel": (replace(SCENE, depth=torch.where(PIXEL & (torch.arange(14) == 3)[:, None, None], DEPTH, 0)), {}, "no surface is left"),
    "no faces": (SCENE, {"faces": 0}, "face budget is 0, wanted at least 4"),
    "negative faces": (SCENE, {"faces": -5}, "face budget is -5"),
    "no voxel": (SCENE, {"voxel_size": 0.0}, "voxel_size is 0.0, wanted a positive number"),
    "NaN voxel": (SCENE, {"voxel_size": float("nan")}, "voxel_size is nan"),
    "fine voxel": (SCENE, {"voxel_size": 1e-9}, "voxel_size is 1e-09, wanted 0.000"),
    "coarse voxel": (SCENE, {"voxel_size": 50.0}, "voxel_size is 50, wanted"),
    "texture": (SCENE, {"texture": True, "texture_size": 0}, "texture_size is 0, wanted 64 to 8192"),
    "method": (SCENE, {"method": "magic"}, "unknown method 'magic'; one of: auto, tsdf, poisson, grid"),
    "cameras without Gaussians": (SCENE, {"cameras": SCENE.cameras}, "look at Gaussians"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_no_mesh_can_be_made_of(name):
    scene, options, message = BAD[name]
    with pytest.raises(ReconError, match=message):
        recon.fuse(scene, **{"texture": False, **options})


def test_some_pixels_that_are_not_finite_are_left_out():
    depth = DEPTH.clone()
    depth[:, ::7, ::5] = torch.nan
    depth[:, 3::11, 2::9] = torch.inf
    depth[:, 5::13, 4::7] = -1
    mesh = recon.fuse(replace(SCENE, depth=depth), faces=5000, texture=False)
    assert mesh.vertices.isfinite().all() and float((mesh.vertices.norm(dim=1) - 1).abs().mean()) < 0.01


@pytest.mark.parametrize("options", [{"least_piece": -0.1}, {"least_piece": 2.0}, {"largest_hole": -1.0}, {"largest_hole": float("nan")}])
def test_what_cannot_be_cleaned_up(options):
    with pytest.raises(ReconError, match="wanted 0 to"):
        CleanUp(**options)


def test_a_missing_library_is_named_with_its_package():
    assert "apt-get install libusb-1.0-0" in with_open3d.advice("libusb-1.0.so.0: cannot open shared object file: No such file or directory")
    assert "pip install libusb-package" in with_open3d.advice("libusb-1.0.so.0: cannot open shared object file: No such file or directory")
    assert "apt-get install libgl1" in with_open3d.advice("libGL.so.1: cannot open shared object file")
    assert with_open3d.advice("something else") == "something else"


def test_without_open3d_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(with_open3d.sys.modules, "open3d", raising=False)
    monkeypatch.setattr(with_open3d.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ReconError, match="pip install open3d"):
        with_open3d.load_open3d()
    assert "pip install" in str(with_open3d.open3d_problem())
