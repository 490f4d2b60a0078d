"""The viewer's engine: fetched by name and sum, never in git, in the wheel; a wrong sum and a machine without npm."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import subprocess
import tarfile
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fetch_viewer(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_viewer", root / "tools" / "fetch_viewer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(file: Path, members: dict[str, bytes]) -> str:
    """A package's archive, and its integrity as lock files spell it."""
    with tarfile.open(file, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return "sha512-" + base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()


def test_only_the_package_of_the_lock_file_is_unpacked(fetch_viewer, tmp_path):
    members = {"package/build/playcanvas.min.mjs": b"export {};", "package/LICENSE": b"MIT", "package/../../evil": b"x"}
    integrity = package(tmp_path / "a.tgz", members)
    vendor = tmp_path / "vendor"
    with pytest.raises(fetch_viewer.Tampered, match="wanted sha512-other"):
        fetch_viewer.unpack(tmp_path / "a.tgz", "sha512-other", vendor)
    assert not vendor.exists()
    fetch_viewer.unpack(tmp_path / "a.tgz", integrity, vendor)
    assert {p.name: p.read_bytes() for p in vendor.iterdir()} == {"playcanvas.min.js": b"export {};", "playcanvas.LICENSE.txt": b"MIT"}
    assert {p.name for p in tmp_path.iterdir()} == {"a.tgz", "vendor"}


def test_a_fetch_that_fails_leaves_what_was_there(fetch_viewer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fetch_viewer.shutil, "which", lambda name: "/bin/false")
    with pytest.raises(fetch_viewer.Unavailable, match="npm gave no playcanvas 2"):
        fetch_viewer.fetch(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()
    monkeypatch.setattr(fetch_viewer, "VENDOR", tmp_path / "vendor")
    monkeypatch.setattr(fetch_viewer.fetch, "__defaults__", (tmp_path / "vendor",))
    monkeypatch.setattr(fetch_viewer.sys, "argv", ["fetch_viewer.py", "--optional"])
    assert fetch_viewer.main() == 0 and "shows no 3D view" in capsys.readouterr().err
    monkeypatch.setattr(fetch_viewer.sys, "argv", ["fetch_viewer.py"])
    assert fetch_viewer.main() == 1


def test_what_is_there_is_not_fetched_again(fetch_viewer, tmp_path, monkeypatch, root):
    lock = json.loads((root / "tools" / "package-lock.json").read_text())["packages"]["node_modules/playcanvas"]
    for name in fetch_viewer.MEMBERS.values():
        (tmp_path / name).write_text("there")
    (tmp_path / "integrity.txt").write_text(lock["integrity"])
    monkeypatch.setattr(fetch_viewer, "packed", lambda *args: pytest.fail("npm was called"))
    fetch_viewer.fetch(tmp_path)


def test_the_versions_agree_and_git_holds_nothing_of_it(root):
    wanted = json.loads((root / "tools" / "package.json").read_text())["dependencies"]["playcanvas"]
    lock = json.loads((root / "tools" / "package-lock.json").read_text())["packages"]["node_modules/playcanvas"]
    assert lock["version"] == wanted and lock["integrity"].startswith("sha512-")
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    if listed.returncode == 0:
        assert not [name for name in listed.stdout.splitlines() if "vendor" in name or name.endswith((".mjs", ".tgz"))]


def test_every_file_of_the_page_is_package_data(root):
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["recon.app"]
    for file in (root / "app" / "static").rglob("*"):
        if file.is_file():
            assert any(fnmatch(file.relative_to(root / "app").as_posix(), pattern) for pattern in patterns), file
    assert "static/vendor/*" in patterns


def test_no_file_of_the_page_is_long(root):
    long = {p.name: n for p in (root / "app").rglob("*") if p.suffix in (".py", ".js", ".css", ".html") and "vendor" not in p.parts
            and (n := len(p.read_text(encoding="utf-8").splitlines())) > 200}  # fmt: skip
    assert not long


def test_our_modules_have_one_purpose_and_say_it(root):
    for file in (root / "app" / "static").glob("*.js"):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 200 and lines[0].startswith("// "), file
        assert "innerHTML" not in file.read_text() and "insertAdjacentHTML" not in file.read_text(), file
