"""Our networks against recorded outputs of their references, and their keys against the published files'."""

from __future__ import annotations

import json

import pytest
import torch

from recon.errors import FileError
from recon.models import MODELS, parity
from recon.models.checkpoints import Checkpoint, fit
from recon.models.loading import candidates, inner_shapes

FIXTURES = {  # -> how many outputs it holds
    "dust3r_small_linear": 15, "dust3r_small_dpt": 21, "mast3r_small": 8, "mvsplat_small_2views": 9, "mvsplat_small_3views": 9,
    "tgs_small": 10,
}  # fmt: skip
MANIFESTS = {
    "DUSt3R_ViTLarge_BaseDecoder_224_linear": ("dust3r-224-linear",),
    "DUSt3R_ViTLarge_BaseDecoder_512_linear": ("dust3r-512-linear",),
    "DUSt3R_ViTLarge_BaseDecoder_512_dpt": ("dust3r-512-dpt",),
    "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric": ("mast3r-metric",),
    "mvsplat_re10k_or_acid_2views": ("mvsplat-re10k", "mvsplat-acid"),
    "TriplaneGaussian_model_lvis_rel": ("triplane-gaussian",),
}
OUTSIDE = {"TriplaneGaussian_model_lvis_rel": ("frozen_dino.", "TriplaneGaussian_frozen_dinov2_base")}  # -> prefix and manifest of a part outside
UNCOUNTED = {"TriplaneGaussian_model_lvis_rel": 86_580_480 + 768}  # parameters: the outside part and the mask token, which the sum leaves out


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs_are_the_references(parity_folder, name):
    rows = parity.compare(parity_folder / f"{name}.pt")
    assert len(rows) == FIXTURES[name]
    assert [row for row in rows if not row.passed] == []


@pytest.mark.parametrize("name", MANIFESTS)
def test_keys_and_shapes_are_the_published_ones(parity_folder, name):
    """Both ways and strict: every entry of the file is ours or repeats another, every entry of ours is in the file."""
    read = lambda stem: json.loads((parity_folder / "manifests" / f"{stem}.json").read_text())
    told, empty = read(name), lambda m: torch.empty(m["shape"], dtype=getattr(torch, m["dtype"]), device="meta")
    entries = {key: empty(m) for key, m in told["state_dict"].items()}
    checkpoint = Checkpoint(entries, name)
    assert candidates(checkpoint, [make() for make in MODELS.values()]) == MANIFESTS[name]
    entry = MODELS[MANIFESTS[name][0]]()
    assert entry.published is not None
    keys = entry.published.keys
    repeats = {key: keys.source_of(key) for key in entries if keys.source_of(key) is not None}
    assert repeats == {key: m["alias_of"] for key, m in told["state_dict"].items() if "alias_of" in m}
    assert entry.published.sizes(inner_shapes(checkpoint, entry), entry.params) == entry.params
    if name in OUTSIDE:
        prefix, stem = OUTSIDE[name]
        assert [part.prefix for part in entry.published.outside] == [prefix]
        named = {prefix + key: empty(m) for key, m in read(stem)["state_dict"].items()}
        entries |= {key: value for key, value in named.items() if keys.source_of(key) is None}
    with torch.device("meta"):
        net = entry.build(entry.params)
    wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    own = {keys.own(key): tuple(value.shape) for key, value in entries.items() if key not in repeats}
    assert own == wanted
    assert sum(p.numel() for p in net.parameters()) == entry.parameters == told["info"]["n_params"] + UNCOUNTED.get(name, 0)


def test_a_miss_is_told_and_fails(parity_folder, tmp_path, capsys):
    fixture = torch.load(parity_folder / "dust3r_small_linear.pt", weights_only=True)
    fixture["outputs"]["res1"]["conf"] += 1.0
    torch.save(fixture, tmp_path / "off.pt")
    assert parity.main([str(tmp_path / "off.pt"), str(tmp_path / "none.pt")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "MISS" in line] == [line for line in lines if "res1.conf" in line]
    assert "cannot be read as a fixture" in lines[-1]


def test_thinned_outputs_and_full_size_files_named_by_their_model(parity_folder, tmp_path):
    """A fixture without configuration: the manifest lies beside it, outputs keep every third pixel."""
    fixture = torch.load(parity_folder / "dust3r_small_linear.pt", weights_only=True)
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "Small_linear.json").write_text(json.dumps({"state_dict": fixture.pop("manifest")}))
    del fixture["outputs"]["inter"]
    fixture["outputs"]["res1"] = {key: value[:, ::3, ::3].clone() for key, value in fixture["outputs"]["res1"].items()}
    torch.save(fixture | {"outputs_stride": 3}, tmp_path / "Small_linear_full.pt")
    rows = parity.compare(tmp_path / "Small_linear_full.pt")
    assert len(rows) == 4 and all(row.passed for row in rows)


def test_full_size_models_are_known_by_their_files_names(parity_folder):
    manifest = lambda name: parity.manifest_beside(parity_folder / name)
    assert len(manifest("dust3r_512_dpt_full.pt")) == 1009 and "downstream_head1.proj.weight" in manifest("DUSt3R_224_linear_full.pt")
    assert len(manifest("mast3r_full.pt")) == 1017 and len(manifest("mvsplat_2views_full.pt")) == 471 and len(manifest("tgs_full.pt")) == 952
    with pytest.raises(FileError, match=r"none of .* is named like it"):
        manifest("nothing.pt")


def test_the_fixture_stays_data(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    assert parity.main([str(tmp_path / "evil.pt")]) == 1


def test_fit_reports_the_first_keys(parity_folder):
    from recon.weights import WeightsError

    fixture = torch.load(parity_folder / "mast3r_small.pt", weights_only=True)
    state = parity.recipe.state_dict(fixture["manifest"], fixture)
    state["downstream_head1.dpt.scratch.layer_rn.2.weight"] = torch.zeros(32, 48, 3, 3)
    entry = MODELS["mast3r-metric"]()
    assert entry.published is not None
    with pytest.raises(WeightsError, match=r"layer_rn\.2\.weight must repeat .*layer3_rn\.weight, which is different"):
        fit(Checkpoint(state), entry.published.keys, {}, "x.pth")
