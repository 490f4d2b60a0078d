"""Textures on scenes with a known answer: the photos come back, seams are level, and what is no part of the surface stays out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from texture_scenes import around, cameras_at, inside, noise, photographed, psnr, room, seam_steps, slanted, sphere

from recon.errors import ReconError
from recon.meshes.texture import adjacency, choose_views, draw_mesh, shots_of, survey, texture_mesh, without_strangers
from recon.meshes.texture.surveying import exposures
from recon.scene import Cameras, Lens, Mesh, Scene

STOPS = [-0.5, 0.3, 0.5, -0.2, 0.1, -0.4]
RED = torch.tensor([0.95, 0.0, 0.0])  # not so bright that it passes for overexposed


def arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices.double().numpy(), mesh.faces.numpy()


def repainted(scene: Scene, rgb: torch.Tensor, mask: torch.Tensor | None = None) -> Scene:
    assert scene.images is not None
    return replace(scene, images=replace(scene.images, rgb=rgb, mask=scene.images.mask if mask is None else mask))


def redness(mesh: Mesh, cameras: Cameras) -> float:
    """The share of pixels that show the pure red of a patch painted into a photo."""
    color = draw_mesh(mesh, cameras).color
    return float(((color[..., 0] > 0.85) & (color[..., 1:] < 0.15).all(-1)).float().mean())


def test_photos_come_back(textured, scene):
    """Sharp to a fraction of a pixel: half a pixel off costs 10 dB here."""
    drawn = draw_mesh(textured, scene.cameras)
    assert min(psnr(scene, drawn)) > 36
    assert float(((drawn.alpha > 0.99) & scene.images.mask).sum() / scene.images.mask.sum()) > 0.995


def test_a_room_of_twelve_triangles():
    cameras = inside(6, 128)
    scene = photographed(room(), cameras, wavelength=0.6)
    mesh = texture_mesh(room(), scene)
    assert len(mesh.faces) > 500 and min(psnr(scene, draw_mesh(mesh, cameras))) > 33


def test_a_view_between(textured, ball, scene):
    """Views that gave no texture."""
    angle = np.array([0.4, 2.3, 4.9])
    eyes = np.stack([np.sin(angle) * 3, 0 * angle, -np.cos(angle) * 3], 1)
    other = photographed(ball, cameras_at(eyes, np.zeros((3, 3)), 128, 128, 170.0))
    assert min(psnr(other, draw_mesh(textured, other.cameras))) > 31


def test_seams_of_unlike_exposures(ball):
    """Photos a stop apart and brighter to their right, of a smooth surface on which any step shows."""
    dull = photographed(ball, around(6, 128), wavelength=1.0, octaves=2, stops=slanted(STOPS, 128))
    even = photographed(ball, around(6, 128), wavelength=1.0, octaves=2)
    mesh = texture_mesh(ball, dull)
    for distance in (1.0, 4.0):
        border, inner = seam_steps(mesh, distance)
        assert border < 1.5 * inner
    alike = draw_mesh(texture_mesh(ball, even), even.cameras).color[even.images.mask].mean() / even.images.rgb[even.images.mask].mean()
    assert 0.99 < alike < 1.01


def test_exposures_are_found():
    random = np.random.default_rng(0)
    true = 2.0 ** np.array([-0.5, 0.2, 0.3, 0.0])
    surface = random.uniform(0.1, 0.4, (500, 1, 3))
    seen = random.random((500, 4)) < 0.6
    colors = (surface * true[:, None] * seen[..., None]).astype(np.float32)
    colors[:60, 1] = 0.6  # something else stood there
    gains = exposures(colors, seen)
    assert np.allclose(gains * true[:, None], (gains * true[:, None]).mean(), rtol=0.03)
    assert np.allclose(exposures(colors[:0], seen[:0]), 1)


def test_what_moves_stays_out(ball):
    """A red thing before one photo of twelve, which no mask tells of; alone that photo gives its red to the texture."""
    calm = photographed(ball, around(12, 96))
    points, faces = arrays(ball)
    views, pairs = survey(points, faces, shots_of(calm)), adjacency(faces)
    assert (without_strangers(views, pairs) > 0).sum() > 0.99 * (views.quality > 0).sum()
    photo = int(np.bincount(choose_views(views.quality, pairs).clip(0)).argmax())  # the one that most is cut from
    rgb = calm.images.rgb.clone()
    rgb[photo, 38:60, 38:60] = RED
    moved = repainted(replace(calm, depth=None), rgb)
    alone = replace(moved, images=moved.images[[photo]], cameras=moved.cameras[[photo]])
    assert redness(texture_mesh(ball, alone), calm.cameras) > 0.005
    views = survey(points, faces, shots_of(moved))
    red = (views.colors[:, photo, 0] > 0.7) & (views.colors[:, photo, 1] < 0.1)
    assert (choose_views(views.quality, pairs)[red] == photo).sum() > 20
    assert redness(texture_mesh(ball, moved), calm.cameras) == 0
    assert ((without_strangers(views, pairs) > 0).any(1) == (views.quality > 0).any(1)).all()  # no face is lost


def test_masked_pixels_stay_out(ball, scene):
    rgb, mask = scene.images.rgb.clone(), scene.images.mask.clone()
    rgb[:2, 40:90, 40:90], mask[:2, 40:90, 40:90] = RED, False
    two = repainted(scene, rgb, mask)
    two = replace(two, images=two.images[:2], cameras=two.cameras[:2], depth=None)
    assert redness(texture_mesh(ball, two), scene.cameras) == 0


def test_what_the_depth_knows_stays_out(ball, scene):
    """Two photos cannot vote, but the one's depth says that something stands before the mesh."""
    rgb, depth = scene.images.rgb[:2].clone(), scene.depth[:2].clone()
    rgb[0, 40:90, 40:90] = RED
    two = replace(scene, images=replace(scene.images[:2], rgb=rgb), cameras=scene.cameras[:2], depth=depth)
    assert redness(texture_mesh(ball, two), scene.cameras) > 0.005
    depth[0, 38:92, 38:92] *= 0.8
    assert redness(texture_mesh(ball, replace(two, depth=depth)), scene.cameras) == 0


def test_blurred_photos_are_passed_over(ball, scene):
    """Of twelve photos from six places the blurred six, which show everything as large, give next to nothing."""
    sharp = scene.images.rgb
    blurred = torch.from_numpy(np.stack([cv2.GaussianBlur(p.numpy(), (0, 0), 3) for p in sharp]))
    both = replace(scene.images[[0, 1, 2, 3, 4, 5] * 2], rgb=torch.cat([blurred, sharp]))
    twelve = replace(scene, images=both, cameras=scene.cameras[[0, 1, 2, 3, 4, 5] * 2], depth=None)
    points, faces = arrays(ball)
    labels = choose_views(survey(points, faces, shots_of(twelve)).quality, adjacency(faces))
    assert (labels >= 6).sum() > 0.95 * (labels >= 0).sum()


def test_what_stands_before_is_not_painted_behind():
    """A box before a wall: no colour of the one on the other, with only two photos."""
    import trimesh

    wall = Mesh(vertices=[[-3, -2, 2], [3, -2, 2], [3, 2, 2], [-3, 2, 2]], faces=[[0, 2, 1], [0, 3, 2]])
    box = trimesh.creation.box(extents=(0.6, 0.6, 0.6))
    mesh = Mesh(vertices=torch.cat([wall.vertices.float(), torch.tensor(np.asarray(box.vertices)).float()]),
                faces=torch.cat([wall.faces, torch.tensor(np.asarray(box.faces)) + 4]))  # fmt: skip
    eyes = np.array([[-1.2, -0.3, -2.0], [1.2, 0.2, -2.0]])
    cameras = cameras_at(eyes, np.array([[0.0, 0, 1]] * 2), 160, 160, 150.0)
    scene = photographed(mesh, cameras)
    on_box = scene.depth < 2.6
    rgb = torch.where(on_box[..., None], RED, torch.tensor([0.2, 0.5, 0.6]))
    out = texture_mesh(mesh, replace(repainted(scene, rgb), depth=None))
    middle = (out.vertices[out.faces].mean(1)[:, 2] > 1.9).numpy()
    uv = out.uvs[out.faces].mean(1)[middle].numpy() * [out.texture.shape[1], out.texture.shape[0]]
    colors = out.texture.numpy()[uv[:, 1].astype(int), uv[:, 0].astype(int)]
    assert len(colors) > 100 and (colors[:, 0] < 0.3).all()


@pytest.mark.parametrize("own", [True, False])
def test_unseen_faces_have_colours(ball, scene, own):
    """From one photo: the back goes on smoothly from the front, with the mesh's own colours where it has them."""
    colors = torch.from_numpy(noise(ball.vertices.numpy(), 0.7, 2)).float() if own else None
    one = replace(scene, images=scene.images[[0]], cameras=scene.cameras[[0]], depth=None)
    one = repainted(one, torch.full_like(one.images.rgb, 0.4)) if not own else one
    mesh = texture_mesh(replace(ball, colors=colors), one)
    back = draw_mesh(mesh, scene.cameras[[3]])
    seen = back.alpha[0] > 0.99
    if not own:
        assert (back.color[0][seen] - 0.4).abs().max() < 0.02
    else:
        wanted = draw_mesh(replace(ball, colors=colors), scene.cameras[[3]]).color[0]
        middle = torch.zeros_like(seen)
        middle[48:80, 48:80] = True
        assert (back.color[0] - wanted)[middle].std(0).max() < 0.03 < wanted[middle].std(0).min()
    assert mesh.colors is None


def test_parts_that_nothing_reaches_have_the_points_colours(ball, scene):
    """A second ball that no photo shows, away from the first."""
    from recon.scene import Pointmaps

    two = Mesh(vertices=torch.cat([ball.vertices, ball.vertices + 50]), faces=torch.cat([ball.faces, ball.faces + len(ball.vertices)]))
    points = torch.full((*scene.images.rgb.shape[:3], 3), 49.0)
    green = repainted(scene, torch.tensor([0.1, 0.7, 0.2]).expand_as(scene.images.rgb).contiguous())
    maps = Pointmaps(points=points, confidence=torch.ones(points.shape[:3]), mask=torch.ones(points.shape[:3], dtype=torch.bool))
    mesh = texture_mesh(two, replace(green, pointmaps=maps, depth=None))
    far = mesh.vertices[:, 0] > 25
    uv = (mesh.uvs[far] * torch.tensor([mesh.texture.shape[1], mesh.texture.shape[0]])).long().clamp(min=0)
    assert (mesh.texture[uv[:, 1], uv[:, 0]] - torch.tensor([0.1, 0.7, 0.2])).abs().max() < 0.02


def test_letters_are_not_mirrored():
    picture = np.full((128, 256, 3), 235, np.uint8)
    cv2.putText(picture, "READ", (14, 92), cv2.FONT_HERSHEY_SIMPLEX, 2.6, (20, 30, 60), 9, cv2.LINE_AA)
    sign = Mesh(vertices=[[-1, -0.5, 0], [1, -0.5, 0], [1, 0.5, 0], [-1, 0.5, 0]], faces=[[0, 2, 1], [0, 3, 2]])
    cameras = cameras_at(np.array([[0.0, 0, -2]]), np.zeros((1, 3)), 256, 128, 256.0)
    scene = photographed(sign, cameras)
    mesh = texture_mesh(sign, repainted(scene, torch.from_numpy(picture)[None] / 255))
    shown = draw_mesh(mesh, cameras).color[0, 8:-8, 8:-8]
    wanted = torch.from_numpy(picture)[8:-8, 8:-8] / 255
    assert (shown - wanted).abs().mean() < 0.01 < 0.1 < (shown.flip(1) - wanted).abs().mean()


def test_photos_with_lenses_are_undistorted(ball, scene):
    """The same photos through a barrel give the same texture, but for the second sampling."""
    from recon.lenses import undistort

    side, K = 128, scene.cameras.K[0].double().numpy()
    y, x = np.mgrid[:side, :side] + 0.5
    rays = undistort("SIMPLE_RADIAL", (-0.8,), (np.stack([x, y], -1).reshape(-1, 2) - K[:2, 2]) / K[0, 0]).reshape(side, side, 3)
    xy = (rays[..., :2] / rays[..., 2:] * K[0, 0] + K[:2, 2] - 0.5).astype(np.float32)
    bend = lambda p: cv2.remap(p, xy[..., 0], xy[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    rgb = torch.from_numpy(np.stack([bend(p.numpy()) for p in scene.images.rgb])).clamp(0, 1)
    mask = torch.from_numpy(np.stack([bend(m.numpy().astype(np.float32)) > 0.99 for m in scene.images.mask]))
    bent = repainted(replace(scene, depth=None), rgb, mask)
    lens = (Lens(model="SIMPLE_RADIAL", params=(-0.8,)),) * 6
    right = texture_mesh(ball, replace(bent, cameras=replace(scene.cameras, lenses=lens)))
    assert min(psnr(scene, draw_mesh(right, scene.cameras))) > 32
    assert max(psnr(scene, draw_mesh(texture_mesh(ball, bent), scene.cameras))) < 28


def test_full_resolution_from_files(ball, tmp_path):
    """The scene is on a grid of 64 pixels, its photos are files of 256 that lie where they lay."""
    from PIL import Image

    from recon.photos.grid import load_images

    fine = photographed(ball, around(4, 256))
    for v, rgb in enumerate(fine.images.rgb):
        Image.fromarray((rgb * 255).round().byte().numpy()).save(tmp_path / f"{v}.png")
    images = load_images(tmp_path, long_side=64)
    small = Scene(cameras=around(4, 64), images=images)
    assert min(psnr(fine, draw_mesh(texture_mesh(ball, small), fine.cameras))) > 36
    coarse = replace(small, images=replace(images, photos=(), files=()))
    assert max(psnr(fine, draw_mesh(texture_mesh(ball, coarse), fine.cameras))) < 33
    (tmp_path / "2.png").write_bytes(b"no picture any more")
    with pytest.raises(ReconError, match=r"2\.png"):
        texture_mesh(ball, small)


def test_progress_is_told(ball, scene):
    told: list[tuple[str, float]] = []
    texture_mesh(ball, scene, size=256, progress=lambda stage, done: told.append((stage, done)))
    assert len(told) > 10 and all(0 <= done <= 1 for _, done in told) and told[-1][1] == 1
    assert {"texture: views", "texture: seams", "texture: cutting"} <= {stage for stage, _ in told}


def test_what_cannot_be_textured(ball, scene):
    nan = ball.vertices.clone()
    nan[7, 1] = float("nan")
    nowhere = replace(scene.cameras, cam_to_world=torch.full((6, 4, 4), float("nan")), placed_by=("unplaced",) * 6)
    away = scene.cameras.cam_to_world.clone()
    away[:, :3, 3] += 1000
    masked = repainted(scene, scene.images.rgb, torch.zeros_like(scene.images.mask))
    for mesh, of, size, word in (
        (replace(ball, faces=torch.zeros(0, 3, dtype=torch.long)), scene, 4096, "without faces"),
        (replace(ball, vertices=nan), scene, 4096, "not finite"),
        (ball, replace(scene, images=None), 4096, "holds none"), (ball, scene, 0, "wanted 64 to 8192"), (ball, scene, 20000, "wanted 64 to 8192"),
        (ball, replace(scene, cameras=nowhere), 4096, "none of the 6 views has a place"), (ball, masked, 4096, "none of the 6 placed photos shows"),
        (ball, replace(scene, cameras=replace(scene.cameras, cam_to_world=away)), 4096, "none of the 6 placed photos shows"),
    ):  # fmt: skip
        with pytest.raises(ReconError, match=word):
            texture_mesh(mesh, of, size=size)


def test_one_unplaced_view_is_left_out(ball, scene):
    T = scene.cameras.cam_to_world.clone()
    T[2] = float("nan")
    mesh = texture_mesh(ball, replace(scene, cameras=replace(scene.cameras, cam_to_world=T, placed_by=()), depth=None))
    assert min(psnr(scene, draw_mesh(mesh, scene.cameras))[v] for v in (0, 4)) > 36


def test_a_tiny_face_and_a_degenerate_one(ball, scene):
    """Two equal corners, and faces much smaller than a pixel, break nothing."""
    speck = ball.vertices[ball.faces[0]].mean(0) * 1.001 + torch.tensor([[0, 0, 0], [1e-5, 0, 0], [0, 1e-5, 0]])
    more = torch.tensor([[5, 5, 9], [len(ball.vertices) + k for k in range(3)]])
    mesh = Mesh(vertices=torch.cat([ball.vertices, speck]), faces=torch.cat([ball.faces, more]))
    out = texture_mesh(mesh, scene)
    assert out.uvs.isfinite().all() and out.texture.isfinite().all() and min(psnr(scene, draw_mesh(out, scene.cameras))) > 36


def test_drawing_shows_depth_and_background():
    cameras = around(2, 64)
    drawn = draw_mesh(sphere(4), cameras, background=(0.0, 1.0, 0.0))
    assert drawn.color[0, 0, 0].tolist() == [0, 1, 0] and drawn.alpha[0, 0, 0] == 0 and drawn.depth[0, 0, 0] == 0
    assert abs(float(drawn.depth[0, 32, 32]) - (float(np.hypot(3.2, 0.5)) - 1)) < 0.01
    with pytest.raises(ReconError, match="lens"):
        draw_mesh(sphere(1), replace(cameras, lenses=(Lens(model="SIMPLE_RADIAL", params=(0.1,)),) * 2))
