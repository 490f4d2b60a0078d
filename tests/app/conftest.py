"""Chromium for the tests of pages: one browser a test process, and tests skip with a reason where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside the tests

from viewer_page import launch, needs_browser


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """What starts browsers."""
    needs_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as one:
        yield one


@pytest.fixture(scope="session")
def browser(playwright: Any) -> Iterator[Any]:
    """A headless Chromium that draws in software."""
    one = launch(playwright)
    yield one
    one.close()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with the known scene as "known" (with a mesh), "metric" (one unit is a metre) and "points" (nothing but points)."""
    from viewer_page import Server
    from viewer_scene import known_scene

    from recon.app.view_pack import write_view
    from recon.scene import Scene

    folder, server = tmp_path_factory.mktemp("scenes"), Server()
    scene = known_scene(mesh=True)
    for name, one in {
        "known": scene, "metric": known_scene(metric=True), "points": Scene(cameras=scene.cameras, images=scene.images, pointmaps=scene.pointmaps),
    }.items():  # fmt: skip
        write_view(one, folder / name)
        server.scenes[name] = folder / name
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_page(browser: Any, scenes: Any) -> Iterator[Any]:
    """A small page with a viewer; one for all tests, since starting one costs more than most of them. Views change at once."""
    from viewer_page import SMALL, watch

    context = browser.new_context(**SMALL, reduced_motion="reduce")
    page = watch(context.new_page())
    page.goto(scenes.address)
    page.wait_for_function("window.mounted")
    yield page
    context.close()


@pytest.fixture
def view(shared_page: Any) -> Iterator[Any]:
    """The shared page with the known scene as when it was opened; afterwards: nothing went wrong in it, and no request left the machine."""
    shared_page.problems[:] = []
    shared_page.evaluate("""async () => {
        const { filters, measure, photos, scene, toolbar } = reconViewer;
        for (const [name, panel] of [['filters', filters.panel], ['photo', photos.panel]]) { panel.hidden = true; toolbar.press(name, false); }
        reconViewer.set({ mode: 'splats', confidence: 0, opacity: 1, view: -1, pointSize: 2, cameras: true, measure: false });
        if (!scene?.source.address('').endsWith('/known/')) return reconViewer.load('/recon/scene/known/');
        photos.fill(scene.head, scene.source);
        measure.clear(null);
        reconViewer.reset(false);
    }""")
    yield shared_page
    assert not shared_page.problems and not shared_page.outside


@pytest.fixture
def own_page(browser: Any, scenes: Any) -> Iterator[Any]:
    """A page of the test's own with the known scene, where views fly; checked afterwards in the same way."""
    from viewer_page import SMALL, show, watch

    context = browser.new_context(**SMALL)
    page = watch(context.new_page())
    show(page, scenes.address, "known")
    yield page
    assert not page.problems and not page.outside
    context.close()
