"""The whole page in a real browser: photos in, a picture, files home; errors, stops, other visitors; on a desk and on a phone."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image
from viewer_page import launch

pytest.importorskip("gradio")
pytest.importorskip("recon.app.view_pack", reason="the viewer's half is absent")
ENGINE = Path(__file__).parents[3] / "app" / "static" / "vendor" / "playcanvas.min.js"
needs_engine = pytest.mark.skipif(not ENGINE.is_file(), reason="the 3D engine was not fetched: python tools/fetch_viewer.py")


def picture(page: Any) -> np.ndarray:  # [H, W, 3] int
    page.wait_for_function("window.reconViewer?.scene")  # the words may come before it
    png = page.evaluate("(async () => { await reconViewer.settled(); return reconViewer.picture().toDataURL('image/png'); })()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))).convert("RGB")).astype(int)


def choose(page: Any, files: list[Path]) -> None:
    """Uploads the files and waits for their thumbnails."""
    page.set_input_files("#recon-photos input[type=file]", [str(f) for f in files])
    page.wait_for_function(f"document.querySelectorAll('.page-strip li').length === {len(files)}")


def wait_for_words(page: Any, text: str) -> None:
    page.wait_for_function("(text) => document.querySelector('#recon-words').innerText.includes(text)", arg=text, timeout=180_000)


def stop_what_is_made(server: Any, button: Any) -> None:
    """Presses Stop once the server is at it."""
    until(lambda: server.jobs.stops._events)
    stop_ends(server, button, lambda: not server.jobs.stops._events)


def stop_ends(server: Any, button: Any, ended: Callable[[], Any]) -> None:
    """Presses Stop; the work ends within a second from when the server hears it (how long a busy browser takes for a click is not its affair)."""
    heard, stop = list[float](), server.jobs.stops.stop
    server.jobs.stops.stop = lambda name: (heard.append(time.monotonic()), stop(name))
    try:
        done = list[float]()
        watch = Thread(target=lambda: (until(lambda: heard and ended()), done.append(time.monotonic())))
        watch.start()
        button.click()
        watch.join()
        assert done[0] - heard[0] < 1.2  # with the beat of the looks and a loaded machine; tests of the worker hold the second itself
    finally:
        server.jobs.stops.stop = stop


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def upright(drawn: np.ndarray, photo: Path) -> None:
    """Something is drawn, and it is more like the photo than like its mirror images."""
    shown = np.abs(drawn - drawn[2, 2]).max(2) > 12
    assert shown.mean() > 0.15, "the canvas is empty"
    rows, columns = np.nonzero(shown.mean(1) > 0.1)[0], np.nonzero(shown.mean(0) > 0.1)[0]
    small = lambda image: np.asarray(image.convert("L").resize((24, 24))).astype(float).ravel()
    ours = small(Image.fromarray(drawn.astype(np.uint8)[rows[0] : rows[-1], columns[0] : columns[-1]]))
    whole = Image.open(photo)
    alike = lambda other: np.corrcoef(ours, small(other))[0, 1]
    for flip in (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT):
        assert alike(whole) > max(0.4, alike(whole.transpose(flip)) + 0.2), "not as the photo"


@needs_engine
@pytest.mark.weights
def test_photos_to_picture_to_files(real, open_page, sample_photos, tmp_path):
    page = open_page(real)
    assert page.locator("#recon-run").is_disabled()  # nothing to work on yet
    choose(page, sample_photos)
    page.wait_for_selector("#recon-run:not([disabled])")
    assert "2 photos: about " in page.locator(".page-before").inner_text()
    page.get_by_text("Settings").click()
    page.get_by_role("radio", name="320").check()
    page.wait_for_selector("#recon-run:not([disabled])")
    page.locator("#recon-run").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#recon-stop:not([disabled])")
    wait_for_words(page, "2 photos placed, ")
    drawn = picture(page)
    upright(drawn, sample_photos[0])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("reconViewer.set({ confidence: 0.5 })")
    assert (np.abs(picture(page) - drawn).max(2) > 12).mean() > 0.02 and not asked

    page.evaluate("reconViewer.set({ confidence: 0 })")
    page.get_by_role("radio", name="Mesh").click()  # made now, or not at all
    stop_what_is_made(real, page.locator(".recon-note").get_by_role("button", name="Stop"))
    page.wait_for_function("reconViewer.state.values.mode === 'splats' && document.querySelector('.recon-note').hidden")
    orbit = page.locator("[data-key=orbit]")
    orbit.click()
    stop_what_is_made(real, orbit)
    page.wait_for_function("(() => { const e = document.querySelector('[data-key=orbit]'); return e.textContent === 'Download' && "
                           "e.parentElement.querySelector('.page-size').innerText.startsWith('about'); })()")  # fmt: skip
    page.get_by_role("radio", name="Mesh").click()
    page.get_by_text("The mesh is on its way").wait_for()
    page.wait_for_function("reconViewer.scene.mesh.entity?.enabled", timeout=180_000)
    upright(picture(page), sample_photos[0])

    with page.expect_download() as waiting:
        page.locator("[data-key=glb]").click()
    waiting.value.save_as(tmp_path / "scene.glb")
    import trimesh

    assert sum(len(g.vertices) for g in trimesh.load(tmp_path / "scene.glb").geometry.values()) > 1000  # type: ignore[union-attr]
    page.wait_for_function("!document.querySelector('[data-key=glb]').parentElement.querySelector('.page-size').innerText.includes('about')")
    assert "units of their own" in page.locator(".page-unit").inner_text()
    page.evaluate("reconViewer.scene.source.setScale(0.5)")  # what the measuring tool calls
    page.wait_for_function("document.querySelector('.page-unit').innerText.startsWith('Files are in metres')")

    page.get_by_role("tab", name="The photos").click()
    page.locator(".page-photos_told li").first.wait_for()  # a tab shows its content a little after the click
    told = page.locator(".page-photos_told").inner_text()
    assert "aloe_left.jpg" in told and "Placed by what it shares with the other photos" in told and "Lens like" in told
    page.get_by_role("tab", name="Reproduce").click()
    page.locator("pre[data-kind=shell]").wait_for()
    assert page.locator("pre[data-kind=shell]").inner_text().startswith("recon run aloe_left.jpg aloe_right.jpg -o out")
    assert page.locator("pre[data-kind=mesh_shell]").inner_text().startswith("recon mesh aloe_left.jpg aloe_right.jpg -o mesh.glb")
    page.get_by_role("tab", name="Take it home").click()
    page.get_by_role("button", name="Delete now").click()
    page.get_by_text("Deleted.").wait_for()
    assert len(real.jobs.store) == 0


@needs_engine
@pytest.mark.weights
def test_the_example_on_a_phone(real, open_page, sample_photos):
    page = open_page(real, "phone", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Try the example").tap()
    wait_for_words(page, "2 photos placed, ")
    upright(picture(page), sample_photos[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(".recon-modes").bounding_box()["height"] < 50  # type: ignore[index]  # one row
    assert page.evaluate("document.fonts.check('700 16px \"Source Sans Pro\"', 'COLMAP')")
    assert page.locator(".page-strip li").count() == 2  # the example stands there as if it had been uploaded
    assert page.locator(".page-offers li").count() > 8
    small = page.evaluate("[...document.querySelectorAll('.page-offers button')].filter((b) => b.getBoundingClientRect().height < 30).length")
    assert small == 0  # fingers


def test_errors_read_well_and_stop_the_button(played, open_page, tmp_path, sample_photos):
    page = open_page(played)
    (tmp_path / "notes.jpg").write_text("<html>no photo</html>")
    page.set_input_files("#recon-photos input[type=file]", [str(sample_photos[0]), str(tmp_path / "notes.jpg")])
    page.get_by_text("notes.jpg is named .jpg but holds something else; allowed: .jpg").wait_for()
    assert page.locator("#recon-run").is_disabled()
    played.jobs.worker.refuse = "the photos show <b>different</b> scenes"
    try:
        page.get_by_role("button", name="Try the example").click()
        page.get_by_text("the photos show <b>different</b> scenes").wait_for()
        page.wait_for_selector("#recon-run:not([disabled])")
    finally:
        played.jobs.worker.refuse = ""


def test_names_of_files_are_text(played, open_page, tmp_path, sample_photos):
    names = ["<img src=x onerror=window.hacked=1>.jpg", "${window.hacked=1}.jpg", "{{window.hacked=1}}.jpg", "[a](javascript:window.hacked=1).jpg"]
    files = []
    for photo, name in zip(sample_photos * 2, names, strict=True):
        files.append(tmp_path / name)
        files[-1].write_bytes(photo.read_bytes())
    page = open_page(played)
    choose(page, files)
    page.wait_for_selector("#recon-run:not([disabled])")
    page.locator("#recon-run").click()
    wait_for_words(page, "4 photos")
    assert page.evaluate("window.hacked") is None
    assert "window.hacked" in page.locator(".page-strip").inner_text()


def test_thumbnails_remove_and_reorder(played, open_page, root, sample_photos):
    page = open_page(played)
    choose(page, [*sample_photos, root / "assets" / "photos" / "graf_1.jpg"])
    names = lambda: page.locator(".page-strip-name").all_inner_texts()
    assert names() == ["aloe_left.jpg", "aloe_right.jpg", "graf_1.jpg"]
    page.get_by_text("graf_1.jpg hardly overlaps with the others").wait_for()
    page.get_by_role("button", name="Later: aloe_left.jpg").click()
    page.wait_for_function("document.querySelector('.page-strip-name').innerText === 'aloe_right.jpg'")
    page.get_by_role("button", name="Remove: graf_1.jpg").click()
    page.wait_for_function("document.querySelectorAll('.page-strip li').length === 2")
    assert names() == ["aloe_right.jpg", "aloe_left.jpg"]
    page.get_by_text("2 photos: about").wait_for()


def test_a_smaller_setting_is_taken_with_one_click(played, open_page, sample_photos, monkeypatch):
    monkeypatch.setattr("recon.app.look.work_of", lambda photos, resolution, video: (9.0, resolution / 512))
    monkeypatch.setattr("recon.cameras.plan.free_gibibytes", lambda device: 0.8)
    page = open_page(played)
    choose(page, sample_photos)
    page.get_by_text("1.0 GiB are needed and 0.8 are free: a resolution of 320 would fit").wait_for()
    page.get_by_role("button", name="Take it").click()
    page.get_by_text("2 photos: about 9 s and 0.6 GiB on this machine").wait_for()
    page.wait_for_function("!document.querySelector('.page-line-smaller')")
    page.get_by_text("Settings").click()
    assert page.get_by_role("radio", name="320").is_checked()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_button_stays_where_it_is(played, open_page, sample_photos, size):
    """From the empty page to a result, at every frame between: nobody presses what has just jumped away."""
    page = open_page(played, size)
    page.evaluate("""() => { window.tops = new Set(); const look = () => {
        window.tops.add(Math.round(document.querySelector('#recon-run').getBoundingClientRect().top + scrollY));
        requestAnimationFrame(look);
    }; look(); }""")
    choose(page, sample_photos)
    page.get_by_text("2 photos: about").wait_for()
    page.wait_for_selector("#recon-run:not([disabled])")
    page.locator("#recon-run").click()
    wait_for_words(page, "2 photos")
    tops = page.evaluate("[...window.tops]")
    assert max(tops) - min(tops) <= 2, tops


def test_the_work_cannot_begin_during_an_upload(played, open_page, root, sample_photos):
    page = open_page(played)
    choose(page, sample_photos)
    page.wait_for_selector("#recon-run:not([disabled])")
    held: list[Any] = []
    page.route("**/upload?**", lambda route: held.append(route))
    page.set_input_files("#recon-photos input[type=file]", [str(root / "assets" / "photos" / "graf_1.jpg")])
    page.wait_for_selector("#recon-run[inert]")
    page.locator("#recon-run").click(force=True)
    assert played.jobs.worker.at_once == 0 and page.locator("#recon-words").inner_text().strip() == ""
    held[0].continue_()
    page.wait_for_selector("#recon-run:not([inert]):not([disabled])")
    page.wait_for_function("document.querySelectorAll('.page-strip li').length === 3")


def test_stop_leave_and_other_visitors(start, open_page):
    server = start(seconds=20.0)
    first, second = open_page(server), open_page(server)
    first.get_by_role("button", name="Try the example").click()
    first.wait_for_function("/depth · about [0-9]+ s left/.test(document.querySelector('#recon-words').innerText)")
    stop_ends(server, first.locator("#recon-stop"), lambda: server.jobs.worker.at_once == 0)
    wait_for_words(first, "Stopped.")
    first.get_by_role("button", name="Try the example").click()
    first.wait_for_function("document.querySelector('#recon-words').innerText.includes('depth')")
    second.get_by_role("button", name="Try the example").click()
    second.wait_for_function("document.querySelector('#recon-words').innerText.includes('waiting: 1 job before yours')")
    first.close()  # leaving frees the machine: 20 s of work were left
    begin = time.monotonic()
    second.wait_for_function("document.querySelector('#recon-words').innerText.includes('depth')")
    assert time.monotonic() - begin < 10.0
    server.jobs.worker.seconds = 0.0
    second.locator("#recon-stop").click()
    wait_for_words(second, "Stopped.")
    assert server.jobs.worker.at_once == 0


def test_a_second_session_sees_nothing_of_the_first(played, open_page):
    first, second = open_page(played), open_page(played)
    first.get_by_role("button", name="Try the example").click()
    wait_for_words(first, "2 photos")
    first.wait_for_function("document.querySelector('.page-end')")
    second.reload()
    second.wait_for_selector("#recon-run")
    assert second.locator(".page-end").count() == 0 and second.locator(".page-strip li").count() == 0
    assert "Two or more photos" in second.locator(".page-before").inner_text() and second.locator("#recon-words").inner_text().strip() == ""


def test_without_webgl_the_page_says_so_and_works(playwright, played):
    off = ("--disable-gpu", "--disable-software-rasterizer", "--disable-3d-apis")
    browser = launch(playwright, *off, ignore_default_args=["--enable-unsafe-swiftshader"])
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(played.url)
    page.get_by_text("This browser shows no 3D").wait_for()
    page.get_by_role("button", name="Try the example").click()
    wait_for_words(page, "2 photos")
    page.wait_for_function("document.querySelector('.page-end')")  # the downloads are there all the same
    browser.close()
