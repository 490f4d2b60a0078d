"""`recon view`: the viewer and one scene as a folder that opens from a disk, without network."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from viewer_page import SMALL, alike, needs_engine, photo_part, picture, shown, watch
from viewer_scene import MARKS, NAMES, known_scene

from recon.app import offline
from recon.app.offline import write_offline
from recon.cli import main
from recon.commands.output import write_json
from recon.commands.run import facts
from recon.errors import ReconError
from recon.io import file_name, save
from recon.io.guard import Guard
from recon.scene import Cameras


def head_of(page: Path) -> dict:
    """view.json as the page holds it."""
    found = re.search(r'<script type="application/json" id="head">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


def run_folder(folder: Path, scene) -> Path:
    """What `recon run` leaves, made of a known scene."""
    folder.mkdir()
    guard = Guard()
    for name in ("ply", "points.ply", "colmap"):
        save(scene, folder / file_name(name), guard=guard)
    write_json({**facts(scene), "warnings": ["b.png is blurred"], "files": []}, folder / "report.json", guard)
    return folder


def test_a_double_click_shows_the_scene_without_network(browser, tmp_path):
    needs_engine()
    scene = known_scene(mesh=True)
    files = write_offline(scene, tmp_path / "share it", title="</title><script>window.hacked=1</script>")
    assert files[0].name == "index.html"
    context = browser.new_context(**SMALL, offline=True, reduced_motion="reduce")
    page = watch(context.new_page())
    page.goto(files[0].as_uri())
    page.wait_for_function("window.reconViewer?.times.loaded")
    whole = picture(page)
    photo = (scene.images.rgb[0].numpy() * 255).astype(int)
    assert shown(whole).mean() > 0.4 and alike(photo_part(page, whole), photo) > 0.95 > alike(photo_part(page, whole), photo[::-1]) + 0.1
    page.get_by_role("radio", name="Mesh").click()
    both = picture(page)
    assert np.abs(both - whole)[shown(both) & shown(whole)].mean() < 12
    page.evaluate("reconViewer.measure.mark([-0.2, -0.6, 4]); reconViewer.set({ measure: true })")
    page.evaluate(f"reconViewer.measure.clear(null); {json.dumps(MARKS)}.forEach((mark) => reconViewer.measure.mark(mark))")
    page.get_by_label("Length of the line").fill("2")
    page.get_by_label("Unit of the length").select_option("m")
    page.get_by_role("button", name="Set").click()
    page.wait_for_function("document.querySelector('.recon-measure-words').textContent.startsWith('2 m. Only this view')")
    page.get_by_label("The photo and what is known of it").click()
    page.wait_for_function("(() => { const e = document.querySelector('.recon-picture'); return e.complete && e.naturalWidth > 0; })()")
    assert page.locator(".recon-photo h3").text_content() == NAMES[0]
    assert page.evaluate("window.hacked === undefined") and page.title().startswith("</title>")
    assert not page.problems and not page.outside
    context.close()


def test_every_module_is_in_the_page_and_none_is_asked_for_from_the_disk():
    needs_engine()
    modules = offline.modules()
    for name, address in modules.items():
        if name != "recon/vendor/playcanvas.min.js":
            text = base64.b64decode(address.partition("base64,")[2]).decode()
            assert "'./" not in text and set(re.findall(r"from '([^']+)'", text)) <= set(modules), name
    asked = re.findall(r"from '([^']+)'", (offline.STATIC / offline.TEMPLATE).read_text(encoding="utf-8"))
    assert set(asked) == {f"recon/{name}" for name in offline.ROOTS}


def test_the_folder_of_a_run(tmp_path, capsys):
    """Gaussians, cameras, photos, confidences and the report's words come from the files of `recon run`."""
    needs_engine()
    scene = known_scene(names=("a.png", "b.png"))
    folder = run_folder(tmp_path / "out", scene)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["view", str(folder), "-o", str(tmp_path / "view"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(tmp_path / "view" / "index.html") and all(Path(file).is_file() for file in told["files"])
    head = head_of(tmp_path / "view" / "index.html")
    assert head["count"] == len(scene.gaussians) and head["has_confidence"] and head["parts"]["view.bin"] >= 1
    assert [view["name"] for view in head["views"]] == ["a.png", "b.png"]
    assert head["views"][1]["words"][-1] == "Warning: b.png is blurred"
    assert np.allclose(head["views"][1]["cam_to_world"], scene.cameras.cam_to_world[1].numpy(), atol=1e-5)
    assert np.allclose(head["views"][0]["K"], scene.cameras.K[0].numpy(), atol=1e-3)
    assert (tmp_path / "view" / head["views"][1]["photo"]).is_file()
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_views_without_a_place_and_without_photos(tmp_path):
    needs_engine()
    scene = known_scene(names=("a.png", "b.png"))
    T = scene.cameras.cam_to_world.clone()
    T[1] = torch.nan
    lost = Cameras(K=scene.cameras.K, cam_to_world=T, width=200, height=150, placed_by=("matches", "unplaced"), confidence=torch.tensor([0.9, 0.0]))
    folder = run_folder(tmp_path / "out", replace(scene, cameras=lost, pointmaps=replace(scene.pointmaps, points=scene.pointmaps.points)))
    for photo in (folder / "colmap" / "images").iterdir():
        photo.unlink()
    assert main(["view", str(folder), "-o", str(tmp_path / "view"), "--quiet"]) == 0
    first, second = head_of(tmp_path / "view" / "index.html")["views"]
    assert first["cam_to_world"] and second["cam_to_world"] is None and "photo" not in first


def test_a_file_and_again_with_fewer_pictures(tmp_path, capsys):
    """A scene with photos, then a bare file into the same folder: what only the first had is gone; what is not recon's stays."""
    needs_engine()
    scene = known_scene()
    save(scene, tmp_path / "scene.npz")
    save(scene, tmp_path / "scene.ply")
    assert main(["view", str(tmp_path / "scene.npz"), "-o", str(tmp_path / "view")]) == 0
    (tmp_path / "view" / "mine.txt").write_text("mine")
    assert (tmp_path / "view" / "photos" / "01.jpg").is_file()
    assert main(["view", str(tmp_path / "scene.ply"), "-o", str(tmp_path / "view")]) == 0
    left = {path.relative_to(tmp_path / "view").as_posix() for path in (tmp_path / "view").rglob("*") if path.is_file()}
    assert left == {".recon", "index.html", "mine.txt", "playcanvas.LICENSE.txt", "scene/view.bin-000.js"}
    assert "open it in a browser" in capsys.readouterr().out


def test_what_cannot_be_shown_says_so_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    needs_engine()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "report.json").write_text('{"views": []}')
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "report.json").write_text('{"views": 3}')
    cases = {"none": "there is no such file", "empty": "holds nothing to look at", "odd": "is no report of recon run"}
    for name, words in cases.items():
        assert main(["view", str(tmp_path / name), "-o", str(tmp_path / "view")]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "view").exists()
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "index.html").write_text("mine")
    with pytest.raises(ReconError, match="was not written by recon"):
        write_offline(known_scene(), tmp_path / "view", title="x")
    assert [path.name for path in (tmp_path / "view").iterdir()] == ["index.html"]
    monkeypatch.setattr(offline, "ENGINE", tmp_path / "absent.js")
    with pytest.raises(ReconError, match=r"the 3D engine is absent.*fetch_viewer"):
        write_offline(known_scene(), tmp_path / "other", title="x")
