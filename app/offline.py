"""Contains `write_offline`: the viewer and one scene as a folder to share, whose index.html opens with a double click and needs no network.

A page from a disk may not fetch files nor import modules beside it, so index.html holds our modules and the engine (as data: addresses in an import
map) and view.json; view.bin and mesh.glb are scripts that hand over base64 in parts; pictures are files as they are.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from recon.app.view_pack import BINARY, HEAD, MESH, write_view
from recon.errors import ReconError
from recon.io.files import whole_folder
from recon.io.guard import Guard, read_list
from recon.scene import Scene

STATIC = Path(__file__).resolve().parent / "static"
ENGINE = STATIC / "vendor" / "playcanvas.min.js"
ENGINE_LICENSE = STATIC / "vendor" / "playcanvas.LICENSE.txt"
TEMPLATE = "offline.html"
ROOTS = ("viewer.js", "offline_scene.js")  # what the template imports
PICTURES = ("photos", "depth", "confidence", "normals")
PARTS = "scene"  # the folder of the scripts
PART_BYTES = 3 * 2**19  # a chunk of view.bin
IMPORT = re.compile(r"(from|import) '\./([\w/.]+\.js)'")


def write_offline(
    scene: Scene, folder: Path, *, title: str, report: dict[str, Any] | None = None, confidence: np.ndarray | None = None, guard: Guard | None = None
) -> list[Path]:
    """Writes the folder, whole or not at all, and returns its files, index.html first. Raises ReconError, also where the engine was not fetched.

    `report` and `confidence` as in `write_view`.
    """
    if not ENGINE.is_file():
        raise ReconError("the 3D engine is absent: this copy of recon was built without npm; run `python tools/fetch_viewer.py` in a checkout")
    guard = guard or Guard()
    before = len(guard.files)
    stale = [name for name in read_list(folder) if name.split("/")[0] in (*PICTURES, PARTS)]
    with whole_folder(folder, guard, stale=stale) as temporary:
        with tempfile.TemporaryDirectory() as scratch:
            pack = Path(scratch) / "pack"
            write_view(scene, pack, report=report, confidence=confidence)
            head = json.loads((pack / HEAD).read_text(encoding="utf-8"))
            head["parts"] = {name: _write_parts(pack / name, temporary / PARTS) for name in (BINARY, MESH) if (pack / name).is_file()}
            for name in PICTURES:
                if (pack / name).is_dir():
                    shutil.copytree(pack / name, temporary / name)
        shutil.copyfile(ENGINE_LICENSE, temporary / ENGINE_LICENSE.name)
        (temporary / "index.html").write_text(page(head, title), encoding="utf-8")
    return sorted(guard.files[before:], key=lambda file: file.name != "index.html")


def page(head: dict[str, Any], title: str) -> str:
    """index.html. What comes from users (the title, names of photos in `head`) can neither end an element nor start one."""
    template = Template((STATIC / TEMPLATE).read_text(encoding="utf-8"))
    style = (STATIC / "viewer.css").read_text(encoding="utf-8")
    return template.substitute(title=html.escape(title), style=style, importmap=json.dumps({"imports": modules()}), head=_inert(head))


def modules() -> dict[str, str]:
    """What the page imports, and what that imports: "recon/NAME.js" -> a data: address. They name each other so, which the import map resolves."""
    found: dict[str, str] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if f"recon/{name}" in found:
            continue
        file = STATIC / name
        text = file.read_text(encoding="utf-8")
        if file != ENGINE:
            waiting += [other for _, other in IMPORT.findall(text)]
            text = IMPORT.sub(r"\1 'recon/\2'", text)
        found[f"recon/{name}"] = "data:text/javascript;base64," + base64.b64encode(text.encode()).decode()
    return found


def _inert(value: Any) -> str:
    """JSON for inside a script element: no < that could end it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _write_parts(file: Path, folder: Path) -> int:
    """The bytes of a file as scripts; returns how many."""
    folder.mkdir(exist_ok=True)
    content = file.read_bytes()
    starts = range(0, len(content), PART_BYTES)
    for number, start in enumerate(starts):
        text = base64.b64encode(content[start : start + PART_BYTES]).decode()
        (folder / f"{file.name}-{number:03d}.js").write_text(f'reconPart("{text}");\n', encoding="ascii")
    return len(starts)
