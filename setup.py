"""Only the step that setuptools cannot read from pyproject.toml: the viewer's engine is fetched before the files of recon.app are gathered."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist


def fetch_viewer() -> None:
    """Fetches the engine; a build without npm goes on without it and says so, a wrong sum ends it."""
    spec = importlib.util.spec_from_file_location("fetch_viewer", Path(__file__).parent / "tools" / "fetch_viewer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.fetch()
    except module.Unavailable as error:
        print(f"viewer: {error}: built without the 3D engine")


class BuildPy(build_py):
    def run(self) -> None:
        fetch_viewer()
        super().run()


class Sdist(sdist):
    def run(self) -> None:
        fetch_viewer()
        super().run()


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
