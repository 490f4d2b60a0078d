"""The look before the work: what is wrong with the photos, and what the job will take."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from recon.app import look as looking
from recon.app.limits import Limits, Refused
from recon.app.look import look, plan_lines, work_of

TELL = {"tell": lambda text, share: None}


def lines(paths: list[Path], kind: str) -> list[str]:
    return [line["text"] for line in look([str(p) for p in paths], 512, 20, Limits(), **TELL)["lines"] if line["kind"] == kind]


def test_good_photos_have_a_plan_and_thumbnails(sample_photos):
    seen = look([str(p) for p in sample_photos], 512, 20, Limits(), **TELL)
    assert [p["name"] for p in seen["photos"]] == ["aloe_left.jpg", "aloe_right.jpg"] and [p["file"] for p in seen["photos"]] == [0, 1]
    picture = Image.open(io.BytesIO(base64.b64decode(seen["photos"][0]["picture"].partition(",")[2])))
    assert max(picture.size) == 96 and len(seen["photos"][0]["picture"]) < 10_000
    assert len(seen["lines"]) == 1 and seen["lines"][0]["kind"] == "plan"
    assert seen["lines"][0]["text"].startswith("2 photos: about ") and "GiB on this machine" in seen["lines"][0]["text"]


def test_faults_are_told(sample_photos, tmp_path):
    left = Image.open(sample_photos[0])
    left.filter(ImageFilter.GaussianBlur(8)).save(tmp_path / "soft.jpg")
    left.save(tmp_path / "again.jpg", quality=80)
    told = lines([*sample_photos, tmp_path / "soft.jpg", tmp_path / "again.jpg"], "warning")
    assert any("soft.jpg is blurred" in text for text in told)
    assert any("again.jpg and aloe_left.jpg are the same photo" in text for text in told)
    assert lines(sample_photos[:1], "warning")[0].startswith("one photo has no parallax, so depth will be a guess")
    assert "all 2 photos are the same picture" in lines([sample_photos[0], tmp_path / "again.jpg"], "error")[0]
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(tmp_path / "blank.png")
    assert "nothing can be seen in blank.png" in lines([*sample_photos, tmp_path / "blank.png"], "error")[0]


def test_photos_that_hardly_overlap_are_told(root, sample_photos):
    stranger = root / "assets" / "photos" / "graf_1.jpg"
    assert lines([*sample_photos, stranger], "warning") == ["graf_1.jpg hardly overlaps with the others and may not be placed"]
    assert lines([sample_photos[0], stranger], "warning") == ["the photos hardly overlap: each should show much of what another one shows"]
    assert lines([stranger, root / "assets" / "photos" / "graf_3.jpg"], "warning") == []


def test_the_plan_grows_with_photos_and_resolution():
    seconds, gibibytes = zip(*(work_of(n, r, False) for n, r in ((2, 512), (20, 512), (20, 1024))), strict=True)
    assert list(seconds) == sorted(seconds) and list(gibibytes) == sorted(gibibytes) and seconds[2] > 1.5 * seconds[1]


def test_a_smaller_resolution_is_offered_where_it_fits(monkeypatch):
    needs = {r: work_of(50, r, False)[1] for r in looking.RESOLUTIONS}
    monkeypatch.setattr("recon.cameras.plan.free_gibibytes", lambda device: (needs[768] + needs[1024]) / 2)
    plan, offer = plan_lines(50, 1024, False)
    assert plan["kind"] == "plan" and offer == {"kind": "smaller", "text": offer["text"], "resolution": 768}
    monkeypatch.setattr("recon.cameras.plan.free_gibibytes", lambda device: 0.5)
    assert plan_lines(50, 1024, False)[1]["kind"] == "error" and "give fewer photos" in plan_lines(50, 1024, False)[1]["text"]


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg at all")
    from recon.errors import ReconError

    with pytest.raises(ReconError, match=r"half.jpg cannot be read as a photo"):
        look([str(tmp_path / "half.jpg")], 512, 20, Limits(), **TELL)
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    with pytest.raises(Refused):
        look([str(tmp_path / "a.svg")], 512, 20, Limits(), **TELL)
