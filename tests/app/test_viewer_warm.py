"""The viewer warms up when its page opens: what the first scene needs is there before it comes, nobody sees it, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from viewer_page import SMALL, picture, show, shown, watch

# counts programs that are linked and workers that are started, keeps what every frame shows and what is put on the stage
SPY = """
window.seen = { programs: 0, workers: 0, frames: 0, colours: new Set(), added: [] };
const link = WebGL2RenderingContext.prototype.linkProgram;
WebGL2RenderingContext.prototype.linkProgram = function (...all) { seen.programs++; return link.apply(this, all); };
window.Worker = class extends Worker { constructor(...all) { super(...all); seen.workers++; } };
let viewer;
Object.defineProperty(window, 'reconViewer', { get: () => viewer, set: (mounted) => {
    viewer = mounted;
    const { app, device: { gl } } = viewer.engine, add = app.root.addChild.bind(app.root);
    app.root.addChild = (child) => { seen.added.push(child.name); add(child); };
    app.on('postrender', () => {
        const pixels = new Uint32Array(gl.drawingBufferWidth * gl.drawingBufferHeight);
        gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(pixels.buffer));
        seen.frames++;
        for (const colour of new Set(pixels)) seen.colours.add(colour);
    });
} });
"""


@pytest.fixture
def opened(browser: Any, scenes: Any) -> Iterator[Any]:
    """The page just opened, with the spy in it and a list of what it asks for; nothing goes wrong in it."""
    context = browser.new_context(**SMALL)
    page = watch(context.new_page())
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.add_init_script(SPY)
    page.goto(scenes.address)
    page.wait_for_function("window.mounted")
    yield page
    assert not page.problems and not page.outside
    context.close()


def test_the_first_scene_finds_everything_ready(opened, scenes):
    opened.evaluate("reconViewer.warm")
    programs, workers = opened.evaluate("[seen.programs, seen.workers]")
    assert programs > 0 and workers == 1
    show(opened, scenes.address, "known")
    assert shown(picture(opened)).mean() > 0.3
    assert opened.evaluate("seen.programs") == programs, "the first scene had to wait for a shader"


def test_nobody_sees_it_and_nothing_stays(opened, scenes):
    opened.evaluate("reconViewer.warm")
    assert opened.evaluate("seen.frames") > 0 and opened.evaluate("seen.colours.size") == 1
    assert opened.evaluate("seen.added") == ["splats", "points", "cameras"]
    assert opened.evaluate("reconViewer.engine.app.root.children.map((child) => child.name)") == ["eye"]
    assert opened.evaluate("reconViewer.scene") is None
    for part in (".recon-note", ".recon-strip"):
        assert opened.locator(part).is_hidden()
    own = (f"{scenes.address}recon/static/", "blob:", "data:")
    assert all(url == scenes.address or url.startswith(own) for url in opened.asked), opened.asked


MOUNTED = "async () => { const { mount } = await import('/recon/static/viewer.js'); const one = await mount(document.getElementById('host'));"


def test_a_scene_that_is_there_at_once_does_not_wait(opened):
    opened.evaluate("reconViewer.warm.then(() => { seen.added = []; })")
    opened.evaluate(f"{MOUNTED} await one.load('/recon/scene/known/'); await one.warm; }}")
    assert opened.evaluate("seen.added") == ["splats", "points", "cameras"]  # the scene's own alone
    assert shown(picture(opened)).mean() > 0.3


def test_a_viewer_that_goes_meanwhile(opened):
    opened.evaluate(f"{MOUNTED} await new Promise((done) => {{ setTimeout(done); }}); one.destroy(); await one.warm; }}")
    assert opened.locator("#host > *").count() == 0


AGAIN = """async (name) => {
    const { servedScene } = await import('/recon/static/scene_source.js');
    const source = servedScene(`/recon/scene/${name}/`), head = await source.head(), parts = [], counts = [];
    for await (const part of source.chunks()) parts.push(part);
    Object.assign(source, { head: async () => head, async* chunks() { yield* parts; } });  // at once: the browser draws nothing before by itself
    reconViewer.engine.app.on('postrender', () => counts.push(reconViewer.engine.app.renderer._gsplatCount));
    await reconViewer.load(source);
    await reconViewer.settled();
    return counts;
}"""


def test_a_later_scene_is_not_drawn_with_the_splats_of_the_last(opened, scenes):
    opened.evaluate("reconViewer.warm")
    show(opened, scenes.address, "known")
    picture(opened)
    counts = opened.evaluate(AGAIN, "known")
    assert counts[0] == 0 and counts[-1] > 0, counts
