"""What a person does with the viewer, in a real browser: sliders, measuring, flying to photos, reading what the report says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from viewer_page import PHONE, launch, photo_part, picture, show, shown, watch
from viewer_scene import MARKS, NAMES


def slide(page, label: str, value: float) -> None:
    page.get_by_label(label, exact=True).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", value)


def click_place(page, place, *, touch: bool = False) -> None:
    at, box = page.evaluate("p => reconViewer.camera.toStage(p)", list(place)), page.locator(".recon-stage canvas").bounding_box()
    (page.touchscreen.tap if touch else page.mouse.click)(box["x"] + at["x"], box["y"] + at["y"])


def test_sliders_change_the_picture_without_a_request(view):
    whole = picture(view)
    asked = []
    view.on("request", lambda request: asked.append(request.url))
    view.get_by_label("Filters: ").click()
    slide(view, "Hide the least sure", 0.5)
    half = picture(view)
    left, right = np.split(np.abs(half - whole).max(-1) > 12, 2, axis=1)
    assert left.mean() > 0.3 and right.mean() < 0.1  # the left of the scene is the least sure
    slide(view, "Hide the least sure", 0)
    slide(view, "Opacity", 0.2)
    background, faint = whole[2, 2], picture(view)
    seen = shown(whole)
    assert np.abs(faint - background)[seen].mean() < 0.8 * np.abs(whole - background)[seen].mean()
    slide(view, "Opacity", 1)
    view.get_by_label("Only what this photo gave").select_option("1")
    second = picture(view)
    assert (shown(whole) & ~shown(second)).mean() > 0.05  # what only the first photo shows is gone
    view.get_by_label("Only what this photo gave").select_option("-1")
    view.evaluate("reconViewer.set({ mode: 'points', cameras: false })")
    slide(view, "Size of points", 1)
    thin = shown(picture(view)).mean()
    slide(view, "Size of points", 6)
    assert shown(picture(view)).mean() > 2 * thin
    assert not asked, "a slider asked the server"


def test_measuring_two_marks_of_known_distance(view, scenes):
    """The marks on the wall are one unit apart; then somebody says that they are 25 cm apart, and the server is told."""
    view.get_by_label("Measure a length").click()
    words = view.locator(".recon-measure-words")
    assert words.text_content() == "Click two places of the scene."
    for mark in MARKS:
        click_place(view, mark)
    units = view.evaluate("reconViewer.measure.units")
    assert units == pytest.approx(1, abs=0.005)
    assert words.text_content() == "1 units"
    view.evaluate("reconViewer.camera.orbit(-80, 40)")  # the line stays on its places
    ends = view.evaluate("[...document.querySelectorAll('.recon-dot')].map((e) => [Number(e.getAttribute('cx')), Number(e.getAttribute('cy'))])")
    for end, mark in zip(ends, MARKS, strict=True):
        at = view.evaluate("p => reconViewer.camera.toStage(p)", list(mark))
        assert np.hypot(end[0] - at["x"], end[1] - at["y"]) < 3
    view.get_by_label("Length of the line").fill("a lot")
    view.get_by_role("button", name="Set").click()
    assert "as a number" in words.text_content() and not scenes.posted
    view.get_by_label("Length of the line").fill("25")
    view.get_by_role("button", name="Set").click()
    view.wait_for_function("document.querySelector('.recon-measure-words').textContent.includes('Downloads')")
    assert words.text_content() == "25 cm. Downloads have this scale too."
    path, body = scenes.posted.pop()
    assert path == "/recon/scene/known/scale" and json.loads(body) == {"metres_per_unit": pytest.approx(0.25 / units)}
    view.keyboard.press("Escape")
    view.locator("canvas").focus()
    view.keyboard.press("Escape")
    assert view.locator(".recon-measure").is_hidden() and not view.evaluate("reconViewer.measure.marks.length")


def test_metric_scenes_are_measured_in_metres_also_by_touch(browser, scenes):
    context = browser.new_context(**PHONE)
    page = watch(context.new_page())
    show(page, scenes.address, "metric")
    page.evaluate("reconViewer.set({ measure: true })")
    for mark in MARKS:
        click_place(page, mark, touch=True)
    assert page.locator(".recon-measure-words").text_content() in ("1 m", "99.9 cm", "99.8 cm", "99.7 cm", "99.6 cm")
    assert page.locator(".recon-label").text_content() == page.locator(".recon-measure-words").text_content()
    assert not page.problems
    context.close()


def test_lengths_in_words(view):
    text = "([length, scale]) => import('/recon/static/units.js').then((units) => units.lengthText(length, scale))"
    cases = [
        (0.12345, None, "0.123 units"), (12345, None, "12345 units"), (1, 1, "1 m"), (0.9999, 1, "1 m"), (0.5, 0.5, "25 cm"), (0.0042, 1, "4.2 mm"),
        (1234.5, 1, "1235 m"),
    ]  # fmt: skip
    assert [view.evaluate(text, [length, scale]) for length, scale, _ in cases] == [wanted for _, _, wanted in cases]
    scale = "([units, amount, unit]) => import('/recon/static/units.js').then((module) => module.scaleFrom(units, amount, unit))"
    assert view.evaluate(scale, [2, "10,5", "cm"]) == pytest.approx(0.0525)
    assert [view.evaluate(scale, [2, amount, "cm"]) for amount in ("", "0", "-3", "x", "Infinity")] == [None] * 5
    assert view.evaluate(scale, [0, "3", "cm"]) is None


def at_photo(page) -> int | None:
    page.evaluate("reconViewer.settled()")
    return page.evaluate("reconViewer.camera.view")


def test_keys_thumbnails_and_pyramids_fly_to_the_photos(view, scenes):
    assert at_photo(view) == 0
    view.locator("canvas").focus()
    view.keyboard.press("2")
    assert at_photo(view) == 1
    wanted = json.loads((scenes.scenes["known"] / "view.json").read_text())["views"][1]["cam_to_world"]
    assert np.allclose(view.evaluate("reconViewer.camera.asRecon()")["cam_to_world"], wanted, atol=1e-6)  # also its roll
    assert view.locator(".recon-thumb[aria-current]").get_attribute("aria-label").startswith("Photo 2")
    view.keyboard.press("[")
    assert at_photo(view) == 0
    view.keyboard.press("]")
    assert at_photo(view) == 1
    view.keyboard.press("0")
    assert at_photo(view) == 0
    view.locator(".recon-thumb").nth(1).click()
    assert at_photo(view) == 1
    view.evaluate("reconViewer.reset(false); reconViewer.set({ mode: 'frusta' }); reconViewer.camera.pan(40, 60); reconViewer.camera.dolly(1.5)")
    assert at_photo(view) is None
    click_place(view, [row[3] for row in wanted[:3]])
    assert at_photo(view) == 1
    view.locator("canvas").focus()
    view.keyboard.press("ArrowLeft")
    assert at_photo(view) is None


def test_a_flight_takes_its_time_and_ends_where_it_should(own_page):
    seen, took_ms = own_page.evaluate("""async () => {
        const began = performance.now(), seen = [reconViewer.camera.position[0]];
        reconViewer.goTo(1);
        for (; reconViewer.camera.flight; await new Promise(requestAnimationFrame)) seen.push(reconViewer.camera.position[0]);
        return [[...seen, reconViewer.camera.position[0]], performance.now() - began];
    }""")
    assert took_ms > 400 and seen == sorted(seen) and seen[0] == 0 and seen[-1] == pytest.approx(0.5)
    assert at_photo(own_page) == 1


def test_hands_turn_move_and_go_nearer(view):
    box = view.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(**how):
        view.mouse.move(x, y)
        view.mouse.down(**how)
        view.mouse.move(x + 60, y + 20, steps=4)
        view.mouse.up(**how)

    before = view.evaluate("({ position: reconViewer.camera.position, target: reconViewer.camera.target })")
    drag()
    after = view.evaluate("({ position: reconViewer.camera.position, target: reconViewer.camera.target })")
    assert np.allclose(before["target"], after["target"], atol=1e-6)  # it turns around what it looks at
    assert after["position"][0] < -0.1 and after["position"][1] < -0.05  # the scene follows the hand: to the right and down
    drag(button="right")
    assert view.evaluate("reconViewer.camera.target[0]") < after["target"][0]
    distance = view.evaluate("reconViewer.camera.distance")
    view.mouse.wheel(0, -100)
    view.wait_for_function("d => reconViewer.camera.distance < d", arg=distance)
    view.mouse.dblclick(x, y)
    view.evaluate("reconViewer.settled()")
    at = view.evaluate("reconViewer.camera.toStage(reconViewer.camera.target)")
    lens = view.evaluate("reconViewer.camera.stageLens()")
    assert np.allclose([at["x"], at["y"]], [lens["cx"], lens["cy"]], atol=0.5)
    view.get_by_label("Back to the first view").click()
    assert at_photo(view) == 0


def test_the_photo_its_maps_its_words_and_itself_over_the_view(view, scenes):
    view.get_by_label("The photo and what is known of it").click()
    panel = view.locator(".recon-photo")
    assert panel.locator("li").all_text_contents()[0] == "Placed by what it shares with the other photos; very sure (90 %)."
    for tab, words in (("Depth", "units"), ("Confidence", "%"), ("Normals", "green: up")):
        panel.get_by_role("button", name=tab).click()
        assert panel.locator("img").get_attribute("src").endswith(f"{tab.lower()}/00.png")
        assert words in panel.locator("p").text_content()
        view.wait_for_function("(() => { const e = document.querySelector('.recon-picture'); return e.complete && e.naturalWidth > 0; })()")
    view.locator(".recon-thumb").nth(1).click()
    view.evaluate("reconViewer.settled()")
    assert any(line.startswith("Warning: ") and "blurred" in line for line in panel.locator("li").all_text_contents())
    view.evaluate("reconViewer.camera.orbit(30, 0)")
    slide(view, "Photo over the view", 0.5)  # flies back and lays the photo where the view shows the same
    assert at_photo(view) == 1
    over, frame = view.locator(".recon-photo-over"), view.evaluate("reconViewer.camera.frame()")
    box, stage = over.bounding_box(), view.locator(".recon-stage").bounding_box()
    assert abs(box["width"] - frame["width"]) < 1 and abs(box["x"] - stage["x"] - frame["left"]) < 1 and abs(box["y"] - stage["y"] - frame["top"]) < 1
    photo = np.asarray(Image.open(scenes.scenes["known"] / "photos/01.jpg").resize((160, 120))).astype(int)
    part = photo_part(view, picture(view))
    there = np.asarray(Image.fromarray(part.astype(np.uint8)).resize((160, 120))).astype(int)
    assert np.abs(there - photo).mean() < 10  # pixel by pixel, not only alike
    view.evaluate("reconViewer.camera.orbit(30, 0)")
    assert over.is_hidden() and view.get_by_label("Photo over the view").input_value() == "0"


def test_names_of_photos_are_text(view):
    """The scene's photos are called like elements and scripts; they are shown as they are and do nothing."""
    view.get_by_label("The photo and what is known of it").click()
    view.get_by_label("Filters: ").click()
    view.get_by_label("The photo and what is known of it").click()
    assert view.locator(".recon-photo h3").text_content() == NAMES[0]
    view.locator(".recon-thumb").nth(1).click()
    view.evaluate("reconViewer.settled()")
    assert view.locator(".recon-photo h3").text_content() == NAMES[1]
    assert view.locator(".recon-filters option").all_text_contents() == ["all photos", *NAMES]
    assert view.evaluate("window.hacked === undefined && !document.querySelector('#host [onerror], #host script')")


def test_everything_can_be_done_by_keyboard(own_page):
    """Tab reaches the canvas and every button; the choice of what is shown moves with the arrows."""
    reached = []
    said = "(() => { const e = document.activeElement; return `${e.tagName} ${e.getAttribute('aria-label') ?? e.textContent}`; })()"
    for _ in range(12):
        own_page.keyboard.press("Tab")
        reached.append(own_page.evaluate(said))
    text = "\n".join(reached)
    for wanted in ("CANVAS", "Splats", "Filters", "Measure", "The photo", "Back to the first", "Full screen", "Photo 1", "Photo 2"):
        assert wanted in text, wanted
    own_page.get_by_role("radio", name="Splats").focus()
    own_page.keyboard.press("ArrowRight")
    assert own_page.evaluate("reconViewer.state.values.mode") == "points"
    own_page.locator("canvas").focus()
    own_page.keyboard.press("m")
    assert own_page.locator(".recon-measure").is_visible()


def test_light_and_dark(own_page):
    light = picture(own_page)[2, 2]
    own_page.emulate_media(color_scheme="dark")
    own_page.wait_for_function("document.getElementById('host').dataset.theme === 'dark'")
    dark = picture(own_page)[2, 2]
    assert light.mean() > 200 and dark.mean() < 60
    own_page.evaluate("""() => { const host = document.getElementById('host'); host.parentElement.classList.add('gradio-container', 'dark');
        reconViewer.destroy(); return import('/recon/static/viewer.js').then((module) => module.mount(host)); }""")
    own_page.emulate_media(color_scheme="light")  # in a Gradio page its own theme counts
    assert own_page.evaluate("document.getElementById('host').dataset.theme") == "dark"
    own_page.evaluate("document.body.classList.remove('dark')")
    own_page.wait_for_function("document.getElementById('host').dataset.theme === 'light'")


def test_the_rules_of_a_page_around_it_do_not_win(view):
    """Gradio's rules for buttons, texts and lists, as they are or stronger."""
    view.get_by_label("The photo and what is known of it").click()
    view.evaluate("""() => { const style = document.createElement('style'); style.id = 'around'; document.body.className = 'prose';
        style.textContent = `.prose *, .prose.prose [type=button] { color: rgb(1, 2, 3); background: transparent; }
            .prose ul { list-style: none; padding: 0; }
            .prose.prose.prose.prose #host { color: rgb(1, 2, 3); }`;
        document.head.append(style); }""")
    look = "([css, key]) => getComputedStyle(document.querySelector(css))[key]"
    for css in (".recon-words li", ".recon-row span", ".recon-modes button", ".recon-photo h3"):
        assert view.evaluate(look, [css, "color"]) != "rgb(1, 2, 3)", css
    assert view.evaluate(look, [".recon-tools button", "backgroundColor"]) != "rgba(0, 0, 0, 0)"
    assert view.evaluate(look, [".recon-words", "listStyleType"]) == "disc"
    view.evaluate("() => { document.getElementById('around').remove(); document.body.className = ''; }")


def test_nothing_moves_the_page_and_nothing_is_drawn_at_rest(view):
    before = view.evaluate("JSON.stringify(document.querySelector('canvas').getBoundingClientRect())")
    for label in ("Filters: ", "Measure a length", "The photo and what is known of it"):
        view.get_by_label(label).click()
    assert view.evaluate("JSON.stringify(document.querySelector('canvas').getBoundingClientRect())") == before
    view.evaluate("reconViewer.settled()")
    frames = view.evaluate("reconViewer.engine.frames")
    view.wait_for_timeout(700)
    assert view.evaluate("reconViewer.engine.frames") <= frames + 1


def test_full_screen_and_back(own_page):
    small = own_page.evaluate("reconViewer.canvas.width")
    own_page.get_by_label("Full screen").click()
    own_page.wait_for_function("document.fullscreenElement?.id === 'host'")
    own_page.get_by_label("Full screen").click()
    own_page.wait_for_function("!document.fullscreenElement")
    own_page.evaluate("() => { document.getElementById('host').requestFullscreen = () => Promise.reject(new Error('as on an iPhone')); }")
    own_page.evaluate("Object.assign(document.getElementById('host').style, { width: '240px' })")
    own_page.wait_for_function("w => reconViewer.canvas.width === w / 2", arg=small)
    own_page.get_by_label("Full screen").click()
    assert own_page.evaluate("document.getElementById('host').classList.contains('recon-full')")
    own_page.get_by_label("Full screen").click()
    assert not own_page.evaluate("document.getElementById('host').classList.contains('recon-full')")


def test_the_element_goes_away_with_the_page(own_page):
    own_page.evaluate("document.getElementById('host').remove()")
    own_page.wait_for_function("reconViewer.destroyed")
    own_page.problems[:] = []


def test_a_browser_without_webgl_reads_a_sentence(playwright, scenes):
    off = ("--disable-gpu", "--disable-software-rasterizer", "--disable-3d-apis")
    browser = launch(playwright, *off, ignore_default_args=["--enable-unsafe-swiftshader"])
    page = watch(browser.new_page())
    show(page, scenes.address, "known")
    assert page.locator(".recon-note").text_content().startswith("This browser shows no 3D: WebGL 2 is off or missing.")
    page.evaluate("reconViewer.set({ mode: 'points' }); reconViewer.destroy()")
    assert not page.outside
    browser.close()
