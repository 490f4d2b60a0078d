"""The tree keeps its own rules: who imports whom, how long files are, what may lie where."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES, MEDIAN_LINES, MOST_BYTES = 400, 130, 38 * 2**20
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


def modules() -> list[Path]:
    return sorted(p for folder in ("recon", "models", "app") for p in (ROOT / folder).rglob("*.py") if not p.parent.is_symlink())


PACKAGES = {"recon": "recon", "models": "recon.models", "app": "recon.app"}  # folder -> package
FLOORS = (  # from the ground up: a file imports its own floor and those below it
    ("cores", "errors", "geometry", "lenses", "spherical_harmonics", "kernels", "weights"), ("scene",), ("io", "photos"),
    ("render", "cameras", "surfaces"), ("meshes",), ("models",), ("reconstruct", "evaluate"), ("commands", "cli", "app"),
)  # fmt: skip
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}


def module_names() -> dict[str, Path]:
    """Every module by its dotted name."""
    names = {}
    for file in modules():
        folder, *parts = file.relative_to(ROOT).with_suffix("").parts
        names[".".join([PACKAGES[folder], *parts]).removesuffix(".__init__")] = file
    return names


def imports(file: Path, names: dict[str, Path]) -> set[str]:
    """The modules of ours that a file imports, also inside functions, but not what only type checkers read."""
    tree = ast.parse(file.read_text())
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    skipped = {id(inner) for block in for_types for inner in ast.walk(block)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in skipped:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in names else node.module for name in whole}
    return {name for name in found if name in names and names[name] != file}


def test_imports_point_downwards():
    names = module_names()
    for name, file in names.items():
        for other in imports(file, names):
            if "." in name and "." in other:  # the public names of `recon` itself load everything lazily
                assert FLOOR[other.split(".")[1]] <= FLOOR[name.split(".")[1]], f"{name} imports {other}"


def test_no_circles():
    names = module_names()
    left = {name: imports(file, names) for name, file in names.items()}
    while free := [name for name, others in left.items() if not others & set(left)]:
        for name in free:
            del left[name]
    assert not left, f"a circle among {sorted(left)}"


def test_the_core_reaches_networks_only_through_the_table():
    """recon -> recon.models' own names (load_model, list_models, MODELS); `recon train` may start training."""
    names = module_names()
    for name, file in names.items():
        if file.is_relative_to(ROOT / "recon") and name != "recon.commands.train":
            assert not any(other.startswith("recon.models.") for other in imports(file, names)), name


def test_no_module_is_named_like_a_package_it_imports():
    for file in modules():
        roots = {alias.name.split(".")[0] for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Import) for alias in n.names}
        roots |= {n.module.split(".")[0] for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom) and n.module}
        assert file.stem not in roots, file


def test_the_median_file_is_short():
    lengths = sorted(len(file.read_text().splitlines()) for file in modules() if file.name != "__init__.py")
    assert lengths[len(lengths) // 2] < MEDIAN_LINES


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
