"""What is installed is whole: every package is named, public names are guarded, imports stay light."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import recon

SETTINGS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
SOURCES = {"recon": "recon", "recon.models": "models", "recon.app": "app"}  # package -> folder that holds its modules


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=True)
    return done.stdout.strip()


def test_every_folder_with_modules_is_a_named_package(root):
    found = set()
    for package, folder in SOURCES.items():
        top = root / folder
        for file in top.rglob("*.py"):
            parts = file.parent.relative_to(top).parts
            if not (package == "recon" and parts[:1] in (("models",), ("app",))):  # the two links
                found.add(".".join([package, *parts]))
    assert found | {"recon.assets", "recon.cuda"} == set(SETTINGS["tool"]["setuptools"]["packages"])


def test_every_package_of_modules_has_an_init(root):
    for package in SETTINGS["tool"]["setuptools"]["packages"]:
        if package not in ("recon.assets", "recon.cuda"):
            assert (root / Path(*package.split(".")) / "__init__.py").is_file(), package


@pytest.mark.parametrize(("link", "folder"), [("recon/models", "models"), ("recon/app", "app")])
def test_the_links_lead_to_the_folders(root, link, folder):
    assert (root / link).is_symlink() and (root / link).resolve() == root / folder


def test_public_names():
    assert recon.__all__ == [
        "Cameras", "Gaussians", "Images", "Mesh", "Pointmaps", "ReconError", "Renderer", "Rendering", "Scene", "Tracks",
        "cameras_of_focal", "cameras_of_photos", "convert", "fuse", "list_models", "load", "load_images", "load_model", "read_cameras",
        "reconstruct", "render", "save",
    ]  # fmt: skip
    for name in recon.__all__:
        assert getattr(recon, name).__name__ == name
    with pytest.raises(AttributeError, match="public names: Cameras"):
        _ = recon.nothing


def test_functions_win_over_modules_of_the_same_name():
    code = "import recon.reconstruct, recon.render; from recon.render import render; print(recon.reconstruct.__name__, recon.render is render)"
    assert run_python(code) == "reconstruct True"


def test_importing_needs_torch_and_numpy_only():
    code = "import sys, recon; [getattr(recon, n) for n in recon.__all__]; print(*{m.partition('.')[0] for m in sys.modules})"
    heavy = {"cv2", "numba", "PIL", "open3d", "scipy", "gsplat", "gradio", "pxr", "pycolmap", "imageio"}  # torch itself loads tqdm and cuda
    assert heavy & set(run_python(code).split()) == set()


def test_help_imports_no_torch():
    code = "import atexit, sys; atexit.register(lambda: print({'torch', 'numpy'} & set(sys.modules))); from recon.cli import main; main(['--help'])"
    assert run_python(code).endswith("set()")


def test_the_version_has_one_source(root):
    assert SETTINGS["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "recon.__version__"}
    assert f"## {recon.__version__}" in (root / "CHANGELOG.md").read_text()


def test_constraints_pin_what_is_needed(root):
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in (root / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = [*SETTINGS["project"]["dependencies"], *SETTINGS["dependency-groups"]["dev"]]
    names = {w.split(";")[0].split("[")[0].split(">")[0].split("=")[0].strip().lower() for w in wanted}
    assert names <= pinned
