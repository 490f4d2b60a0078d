"""Chromium for the tests of pages: one browser a test process, and tests skip with a reason where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside the tests

from viewer_page import chromium, needs_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium that draws in software."""
    with chromium(needs_browser()) as one:
        yield one
