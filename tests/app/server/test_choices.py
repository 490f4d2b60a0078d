"""What a visitor may choose and tell beside the photos reaches the work as it was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from recon.app.choices import PLAIN, choices_of
from recon.app.home import Home
from recon.app.jobs import Asked, Jobs
from recon.app.limits import Limits, Refused


def test_networks_are_told_in_plain_words_with_their_licences(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    choices = choices_of([f"dust3r-512-dpt={tmp_path / 'w.safetensors'}"])
    assert choices.names == [(PLAIN["recon-small"], "recon-small"), (f"{PLAIN['dust3r-512-dpt']}, no commercial use", "dust3r-512-dpt")]
    assert "recon-small: Apache-2.0 as recon itself" in choices.licences and "dust3r-512-dpt: CC" in choices.licences
    assert choices.models["recon-small"] is None and choices.models["dust3r-512-dpt"] == tmp_path / "w.safetensors"
    from recon.models import list_models

    assert set(PLAIN) >= {model["name"] for model in list_models() if model["commercial"]}  # each has words
    for text, why in (("x=y", "wanted NAME=FILE"), ("recon-small", "wanted NAME=FILE"), ("mast3r-metric=/none.pt", "there is no /none.pt")):
        with pytest.raises(Refused, match=why):
            choices_of([text])


def test_everything_that_is_told_reaches_the_job(tmp_path, sample_photos):
    given = tmp_path / "given"
    given.mkdir()
    (given / "transforms.json").write_text("{}")
    (given / "aloe_left.png").write_bytes(sample_photos[0].read_bytes())
    jobs = Jobs(Home(tmp_path / "home"), Limits(), {"recon-small": None, "other": Path("/w.pt")})
    photos, masks = [str(p) for p in sample_photos], [str(given / "aloe_left.png")]
    with jobs.store.making("me") as entry:
        job = jobs._job(Asked(photos=photos, model="other", resolution=768, cameras=str(given / "transforms.json"), masks=masks, metric=True), entry)
        assert (job.model, job.weights, job.resolution, job.metric) == ("other", Path("/w.pt"), 768, True)
        assert [p.name for p in job.photos] == [p.name for p in sample_photos] and all(p.is_relative_to(entry.folder) for p in job.photos)
        assert job.cameras is not None and job.cameras.is_file() and job.cameras.is_relative_to(entry.folder)
        assert job.masks is not None and [p.name for p in job.masks.iterdir()] == ["aloe_left.png"]
    with jobs.store.making("me") as entry:
        assert jobs._job(Asked(photos=photos, focal=" 28mm "), entry).focal == "28mm"
        with pytest.raises(Refused, match="'vgt' is not on this server; one of: recon-small, other"):
            jobs._job(Asked(photos=photos, model="vgt"), entry)
    jobs.close()
