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


@pytest.fixture
def view(browser: Any, scenes: Any) -> Iterator[Any]:
    """A small page that shows the known scene; afterwards: nothing went wrong in it, and no request left the machine."""
    from viewer_page import show, watch

    context = browser.new_context(viewport={"width": 640, "height": 480})
    page = watch(context.new_page())
    show(page, scenes.address, "known")
    yield page
    assert not page.problems and not page.outside
    context.close()
