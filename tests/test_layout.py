"""The tree keeps its own rules: who imports whom, how long files are, what may lie where."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES, MOST_BYTES = 400, 38 * 2**20
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


def modules() -> list[Path]:
    return sorted(p for folder in ("recon", "models", "app") for p in (ROOT / folder).rglob("*.py") if not p.parent.is_symlink())


def imports(file: Path) -> set[str]:
    """Every module a file imports, also inside functions and for type checkers."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_nothing_imports_the_app():
    for file in modules():
        if not file.is_relative_to(ROOT / "app"):
            assert not any(name == "recon.app" or name.startswith("recon.app.") for name in imports(file)), file


def test_the_core_reaches_networks_only_through_the_table():
    """recon -> recon.models' own names (load_model, list_models, MODELS); the commands may start training."""
    for file in modules():
        if file.is_relative_to(ROOT / "recon"):
            names = {n for n in imports(file) if n.startswith("recon.models.")}
            inner = names - {f"recon.models.{n}" for n in ("load_model", "list_models", "MODELS")}
            assert not inner or file.name == "train.py", (file, inner)


def test_networks_import_no_commands_and_no_files():
    for file in modules():
        if file.is_relative_to(ROOT / "models"):
            assert not any(n.startswith(("recon.commands", "recon.io", "recon.cli")) for n in imports(file)), file


def test_cuda_holds_sources_only():
    assert [p for p in (ROOT / "cuda").rglob("*") if p.is_file() and p.suffix not in (".cu", ".cuh")] == []


@pytest.mark.parametrize("file", [*modules(), *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(file):
    assert len(file.read_text().splitlines()) <= MOST_LINES
    assert file.name not in FORBIDDEN_NAMES


def test_every_module_says_what_it_is():
    for file in modules():
        assert ast.get_docstring(ast.parse(file.read_text())) or not file.read_text().strip(), file


def test_the_tracked_tree_is_small_and_names_no_machine():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert sum(f.stat().st_size for f in files) < MOST_BYTES
    for file in files:
        if file.suffix in (".py", ".md", ".toml", ".txt", ".cu", ".cuh", "") and file.stat().st_size < 2**20 and file.name != "test_layout.py":
            text = file.read_text(errors="replace")
            assert "/work/" not in text and "/root/" not in text and "bash_jobs" not in text, file
