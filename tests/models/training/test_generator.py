"""Training scenes: depth, cameras and correspondences must agree with each other, whatever made them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.errors import ReconError
from recon.models.training import photometrics
from recon.models.training.assets import crossed_boards, load_assets, open_pack
from recon.models.training.correspondence import cell_depth, correspond, rotations, unproject
from recon.models.training.dice import Dice
from recon.models.training.generator import SceneGenerator, Views, draw_tables, render_tables
from recon.models.training.viewpoints import look_at


@pytest.fixture(scope="module")
def assets():
    return load_assets("cpu", noise=12)


@pytest.fixture(scope="module")
def seen(assets) -> Views:
    return SceneGenerator(assets, seed=3, device="cpu").render(10, 3, 96, 128)


def test_correspondences_return_through_the_other_view(seen: Views) -> None:
    """A point of view i, found in view j's own depth map, projects back to where it came from: within 0.1 px."""
    found = correspond(seen.depth, seen.cameras, [(0, 1), (1, 2), (2, 0)])
    off = []
    for (i, j), (uv, ok) in found.items():
        back, steady = bilinear_inverse_depth(seen.depth[:, j], uv)
        local = unproject(back[:, None], seen.cameras[:, j : j + 1], uv[:, None, ..., 0], uv[:, None, ..., 1])[:, 0]
        world = torch.einsum("bij,bhwj->bhwi", rotations(seen.cameras)[:, j], local) + seen.cameras[:, j, None, None, 9:12]
        p = torch.einsum("bji,bhwj->bhwi", rotations(seen.cameras)[:, i], world - seen.cameras[:, i, None, None, 9:12])
        camera = seen.cameras[:, i, None, None]
        xy = torch.stack([p[..., 0] / p[..., 2] * camera[..., 12] + camera[..., 14], p[..., 1] / p[..., 2] * camera[..., 13] + camera[..., 15]], -1)
        rows, columns = ok.shape[1:]
        centre = torch.stack([(torch.arange(columns) * 8 + 4.0).expand(rows, -1), (torch.arange(rows) * 8 + 4.0)[:, None].expand(-1, columns)], -1)
        off.append((xy - centre).norm(dim=-1)[ok & steady])
    error = torch.cat(off)
    assert len(error) > 1000
    assert error.median() < 0.01
    assert (error < 0.1).float().mean() > 0.97  # the rest sees a crease or another surface within the 3 % of the visibility test


def bilinear_inverse_depth(depth: torch.Tensor, uv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """z at uv, exact on planes, and where the four pixels around see one surface."""
    height, width = depth.shape[1:]
    x0 = (uv[..., 0] - 0.5).floor().clamp(0, width - 2).long()
    y0 = (uv[..., 1] - 0.5).floor().clamp(0, height - 2).long()
    a, b = (uv[..., 0] - 0.5 - x0).clamp(0, 1), (uv[..., 1] - 0.5 - y0).clamp(0, 1)
    row = torch.arange(len(depth))[:, None, None]
    four = torch.stack([depth[row, y0 + i, x0 + j] for i in (0, 1) for j in (0, 1)])
    inverse = 1 / four.clamp(min=1e-6)
    mean = (inverse[0] * (1 - a) + inverse[1] * a) * (1 - b) + (inverse[2] * (1 - a) + inverse[3] * a) * b
    # one surface: the twist of the inverse depths is nil on a plane
    twist = (inverse[0] - inverse[1] - inverse[2] + inverse[3]).abs() < 2e-3 * inverse.amax(0)
    return 1 / mean, twist & (four.amin(0) > 0) & (four.amax(0) < 1.05 * four.amin(0))


def test_depth_is_where_the_normals_say(seen: Views) -> None:
    """Neighbouring points of one surface lie in the plane of its normal."""
    height, width = seen.depth.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    local = unproject(seen.depth, seen.cameras, x, y)
    world = torch.einsum("bvij,bvhwj->bvhwi", rotations(seen.cameras), local)
    step = world[:, :, :, 1:] - world[:, :, :, :-1]
    n, m = seen.normal[:, :, :, :-1], seen.normal[:, :, :, 1:]
    near, far = seen.depth[..., :-1], seen.depth[..., 1:]
    flat = ((n - m).norm(dim=-1) < 1e-4) & (near > 0) & (far > 0) & ((far / near - 1).abs() < 0.02)
    slope = (step * n).sum(-1).abs() / step.norm(dim=-1).clamp(min=1e-6)
    assert flat.float().mean() > 0.3
    assert slope[flat].quantile(0.99) < 0.02


def test_cell_depth_is_exact_on_a_slanted_plane() -> None:
    x, y = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="xy")
    depth = 1 / (0.5 + 0.004 * x - 0.002 * y)
    z, smooth = cell_depth(depth[None, None])
    assert smooth.all()
    assert torch.allclose(z[0, 0, 1, 2], torch.tensor(1 / (0.5 + 0.004 * 20 - 0.002 * 12)), rtol=1e-6)


def test_cameras_see_something_and_know_their_lens(assets) -> None:
    seen = SceneGenerator(assets, seed=5, device="cpu").render(64, 2, 48, 64)
    R = rotations(seen.cameras)
    assert torch.allclose(R @ R.mT, torch.eye(3).expand_as(R), atol=1e-5)
    assert torch.allclose(torch.linalg.det(R), torch.ones(64, 2), atol=1e-5)
    degrees = 2 * (32 / seen.cameras[..., 12]).atan().rad2deg()
    assert degrees.min() > 6.9 and degrees.max() < 105.1 and degrees.max() - degrees.min() > 50
    assert ((seen.depth > 0).flatten(1).float().mean(1) > 0.03).float().mean() > 0.9
    assert seen.color.min() >= 0 and seen.color.max() <= 1 and seen.color.std() > 0.1


def test_look_at_is_opencv() -> None:
    R = look_at(torch.tensor([0.0, 0.0, -3.0]), torch.zeros(3), torch.zeros(()))
    right, down, forward = R.unbind(-1)
    assert torch.allclose(forward, torch.tensor([0.0, 0.0, 1.0])) and torch.allclose(down, torch.tensor([0.0, -1.0, 0.0]))
    assert torch.allclose(torch.linalg.cross(right, down), forward)


def test_equal_seeds_give_equal_batches(assets) -> None:
    a, b, c = (SceneGenerator(assets, seed=s, device="cpu").batch(2, 2, 48, 64) for s in (1, 1, 2))
    assert torch.equal(a["images"], b["images"]) and not torch.equal(a["images"], c["images"])
    assert a["images"].shape == (2, 2, 3, 48, 64) and set(a["matches"]) == {(0, 1), (1, 0)}
    assert torch.allclose(a["common"][:, 0], a["local"][:, 0], atol=1e-4)  # view 0 is the reference


def test_compression_is_the_identity_without_strength_and_keeps_the_mean() -> None:
    x = Dice(0, "cpu").uniform(0, 1, 2, 3, 20, 24)
    assert torch.allclose(photometrics.compress(x, torch.full((2,), 1e-6)), x, atol=1e-4)
    rough = photometrics.compress(x, torch.full((2,), 0.05))
    assert (rough - x).abs().max() > 0.02 and abs(float(rough.mean() - x.mean())) < 0.01


def test_a_pack_that_is_none_is_refused(tmp_path) -> None:
    text = tmp_path / "pack.npz"
    text.write_text("hello")
    with pytest.raises(ReconError, match="cannot be read"):
        open_pack(text, ("verts",))
    np.savez(text, verts=crossed_boards()["verts"])
    with pytest.raises(ReconError, match="missing tex_webp"):
        open_pack(text, ("verts", "tex_webp"))


@pytest.mark.gpu
def test_the_gpu_kernel_agrees_with_its_twin(assets) -> None:
    """The same tables through NVRTC's kernel and through the source compiled for the host."""
    tables = draw_tables(Dice(9, "cpu"), assets, 24, 2, 96, 128)
    here = render_tables(tables, assets, 96, 128)
    on_gpu = load_assets("cuda", noise=12)
    on_gpu = replace(on_gpu, textures=assets.textures.cuda(), meshes={k: v.cuda() for k, v in assets.meshes.items()})
    there = render_tables(replace(tables, **{k: v.cuda() for k, v in vars(tables).items()}), on_gpu, 96, 128)
    depth, color = there.depth.cpu(), there.color.cpu()
    same = (depth - here.depth).abs() <= 1e-4 * here.depth
    assert same.float().mean() > 0.998  # silhouettes: fast maths may put a pixel on the other side
    assert (color - here.color)[same].abs().quantile(0.999) < 0.02
