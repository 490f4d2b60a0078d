"""The viewer's picture in a real browser: it is recon's own, upright, and the same in splats, points, mesh and cameras."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from viewer_page import DESKTOP, PHONE, alike, photo_part, picture, show, shown, watch
from viewer_scene import MARKS, RADIUS, colour, known_scene

import recon
from recon.scene import Cameras, Mesh

ENOUGH_DB = 40


def photo_of(server, scene: str, k: int) -> np.ndarray:
    return np.asarray(Image.open(server.scenes[scene] / f"photos/{k:02d}.jpg")).astype(int)


def is_upright(pixels: np.ndarray, photo: np.ndarray) -> bool:
    """Whether a picture is like the photo, and less like the photo turned or mirrored."""
    others = max(alike(pixels, other) for other in (photo[::-1], photo[:, ::-1], photo[::-1, ::-1]))
    return alike(pixels, photo) > max(0.9, others + 0.1)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_opens_upright_in_the_first_photos_own_camera(browser, scenes, size):
    context = browser.new_context(**size)
    page = watch(context.new_page())
    show(page, scenes.address, "known")
    whole = picture(page)
    part = photo_part(page, whole)
    assert shown(whole).mean() > (0.5 if size is DESKTOP else 0.2), "the canvas is empty"
    assert is_upright(part, photo_of(scenes, "known", 0))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    inside = page.evaluate("""() => [...document.querySelectorAll('.recon-viewer button')].filter((b) => b.offsetParent).every((b) => {
        const r = b.getBoundingClientRect(); return r.left >= 0 && r.right <= innerWidth && r.top >= 0 && r.bottom <= innerHeight; })""")
    assert inside, "a button is off the screen"
    assert not page.problems and not page.outside
    context.close()


def test_turned_axes_are_noticed(view, scenes, tmp_path):
    """The check above fails where the Gaussians lie in other axes than the cameras."""
    from recon.app.view_pack import write_view
    from recon.io.axes import move

    scene = known_scene()
    turned = move(scene.gaussians, torch.diag(torch.tensor([1.0, -1.0, -1.0])), 1.0)
    away = torch.tensor([0.0, 0.0, 2 * 3.5])  # before the cameras again
    write_view(replace(scene, gaussians=replace(turned, means=turned.means + away)), tmp_path / "turned")
    scenes.scenes["turned"] = tmp_path / "turned"
    show(view, scenes.address, "turned")
    pixels = picture(view)
    assert shown(pixels).mean() > 0.2 and not is_upright(photo_part(view, pixels), photo_of(scenes, "known", 0))


def test_it_is_the_picture_of_recon_render(view):
    """The same camera in both: the first photo's with its principal point off the middle, the second's, one turned by hand, and one far away, where
    splats are smaller than pixels and the widening counts. Only what the scene covers is compared: an empty background is always right."""
    gaussians = known_scene().gaussians
    view.evaluate("reconViewer.set({ cameras: false })")
    for move in ("", "reconViewer.goTo(1, false)", "reconViewer.camera.orbit(-60, 30)", "reconViewer.camera.dolly(3)"):
        view.evaluate(f"() => {{ {move} }}")
        pixels, camera = picture(view), view.evaluate("reconViewer.camera.asRecon()")
        assert pixels.shape[:2] == (camera["height"], camera["width"])
        cameras = Cameras(
            K=torch.tensor([camera["K"]]), cam_to_world=torch.tensor([camera["cam_to_world"]]), width=camera["width"], height=camera["height"],
        )  # fmt: skip
        background = [0.93, 0.935, 0.945]
        wanted = recon.render(gaussians, cameras, background=background).color[0].clamp(0, 1).numpy() * 255
        covered = shown(pixels) | shown(wanted)
        error = float(((pixels - wanted)[covered] ** 2).mean())
        assert covered.mean() > 0.05
        assert 10 * np.log10(255**2 / error) > ENOUGH_DB, move or "first photo"


def test_splats_points_and_mesh_stand_in_one_place(view):
    view.evaluate("reconViewer.camera.orbit(-40, 20)")
    view.evaluate("reconViewer.set({ cameras: false, pointSize: 4 })")
    pictures = {}
    for mode in ("splats", "points", "mesh"):
        view.get_by_role("radio", name=mode.capitalize()).click()
        pictures[mode] = picture(view)
    for mode in ("points", "mesh"):
        both = shown(pictures["splats"]) & shown(pictures[mode])
        assert both.mean() > 0.25
        assert np.abs(pictures["splats"] - pictures[mode])[both].mean() < 12, mode
        mirrored = pictures[mode][::-1]
        assert np.abs(pictures["splats"] - mirrored)[shown(pictures["splats"]) & shown(mirrored)].mean() > 25
    view.get_by_role("radio", name="Cameras").click()
    assert 0 < shown(picture(view)).mean() < 0.1


def test_a_camera_is_drawn_where_the_other_photo_was_taken(view):
    """Seen from behind, the second camera's lines start at its own place."""
    view.evaluate("reconViewer.set({ mode: 'frusta' }); reconViewer.camera.pan(40, 60); reconViewer.camera.dolly(1.5)")
    pixels = shown(picture(view))
    at = view.evaluate("reconViewer.camera.toStage(reconViewer.scene.head.views[1].cam_to_world.slice(0, 3).map((row) => row[3]))")
    x, y = round(at["x"]), round(at["y"])
    assert at["z"] > 0 and pixels[y - 3 : y + 4, x - 3 : x + 4].any()
    assert not pixels[: pixels.shape[0] // 8].any()


def test_a_textured_mesh_lies_on_the_splats(view, scenes, tmp_path):
    """What the exporter writes for a texture: the wall as two triangles with the first photo's colours."""
    from recon.app.view_pack import write_view

    scene = known_scene()
    corners = torch.tensor([[-1.5, -1.2], [1.5, -1.2], [-1.5, 0.9], [1.5, 0.9]])
    u, v = torch.meshgrid((torch.arange(300) + 0.5) / 300, (torch.arange(300) + 0.5) / 300, indexing="xy")
    texture = colour(torch.stack([-1.5 + 3 * u, -1.2 + 2.1 * v, torch.full_like(u, 4.0)], -1))
    mesh = Mesh(
        vertices=torch.cat([corners, torch.full((4, 1), 4.0)], 1), faces=torch.tensor([[0, 2, 1], [1, 2, 3]]),
        uvs=torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]), texture=texture,
    )  # fmt: skip
    write_view(replace(scene, mesh=mesh), tmp_path / "textured")
    scenes.scenes["textured"] = tmp_path / "textured"
    show(view, scenes.address, "textured")
    splats = picture(view)
    view.evaluate("reconViewer.set({ mode: 'mesh', cameras: false })")
    wall = picture(view)
    upper = shown(wall) & (np.arange(len(wall)) < len(wall) // 3)[:, None]  # the ball does not hide it there
    assert upper.mean() > 0.1 and np.abs(wall - splats)[upper].mean() < 8


def test_points_alone_are_shown(view, scenes):
    show(view, scenes.address, "points")
    assert view.get_by_role("radio", name="Splats").is_hidden() and view.evaluate("reconViewer.state.values.mode") == "points"
    view.evaluate("reconViewer.set({ pointSize: 4 })")
    assert is_upright(photo_part(view, picture(view)), photo_of(scenes, "points", 0))


def test_a_picture_that_the_graphics_card_dropped_comes_back(own_page):
    before = picture(own_page)
    own_page.evaluate("""async () => {
        const lose = reconViewer.engine.device.gl.getExtension('WEBGL_lose_context'), { canvas } = reconViewer;
        for (const [act, event] of [['loseContext', 'webglcontextlost'], ['restoreContext', 'webglcontextrestored']]) {
            const told = new Promise((done) => { canvas.addEventListener(event, done, { once: true }); });
            lose[act]();
            await told;
            await new Promise((done) => { setTimeout(done); });
        }
    }""")
    assert own_page.locator(".recon-note").is_hidden()
    after = picture(own_page)
    assert shown(before).mean() > 0.3 and np.abs(after - before).mean() < 1


def test_the_known_scene_is_what_it_says():
    """What the tests measure by: marks are black and one unit apart, the ball has its radius."""
    scene = known_scene()
    assert float((torch.tensor(MARKS[0]) - torch.tensor(MARKS[1])).norm()) == pytest.approx(1)
    assert float(colour(torch.tensor(MARKS[0])).max()) == 0
    ball = (scene.pointmaps.points - torch.tensor([-0.5, 0.55, 3.0])).norm(dim=-1)
    assert float((ball - RADIUS).abs().min()) < 1e-3


def test_a_scene_that_is_gone_and_one_that_came_in_part(view, scenes, tmp_path):
    told = view.evaluate("reconViewer.load('/recon/scene/none/').catch((error) => document.querySelector('.recon-note').textContent)")
    assert told == "The scene could not be shown: it is no longer on the server"
    shutil.copytree(scenes.scenes["known"], tmp_path / "half")
    whole = (tmp_path / "half" / "view.bin").read_bytes()
    (tmp_path / "half" / "view.bin").write_bytes(whole[: len(whole) // 2])
    scenes.scenes["half"] = tmp_path / "half"
    told = view.evaluate("reconViewer.load('/recon/scene/half/').catch((error) => document.querySelector('.recon-note').textContent)")
    assert told == "The scene could not be shown: the scene came only in part"
    view.evaluate("reconViewer.load('/recon/scene/known/')")
    assert shown(picture(view)).mean() > 0.3
    view.problems[:] = [text for text in view.problems if "404" not in text]
