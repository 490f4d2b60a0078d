"""Foreign checkpoint files of each real structure, written here, and files that must be refused."""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from recon import models
from recon.errors import ReconError
from recon.models import recipe
from recon.models.checkpoints import Checkpoint, KeyTable, read_checkpoint
from recon.models.dust3r.network import Dust3r, Dust3rParams
from recon.models.dust3r.published import KEYS

SMALL = Dust3rParams(head="linear", encoder_width=64, encoder_depth=1, encoder_heads=1, decoder_width=64, decoder_depth=2, decoder_heads=1)
DOTTED = {"encoder.": "enc_blocks.", "encoder_norm.": "enc_norm.", "decoder_in.": "decoder_embed.", "decoder1.": "dec_blocks.",
          "decoder2.": "dec_blocks2.", "decoder_norm.": "dec_norm.", "head1.": "downstream_head1.", "head2.": "downstream_head2.",
          "patch_embed.": "patch_embed.proj."}  # fmt: skip


@pytest.fixture(scope="module")
def entries():
    """A small linear network's weights by the recipe, under published names."""
    published = lambda key: next((theirs + key.removeprefix(ours) for ours, theirs in DOTTED.items() if key.startswith(ours)), key)
    manifest = {published(k): {"shape": list(v.shape), "dtype": "float32"} for k, v in Dust3r(SMALL).state_dict().items()}
    assert {KEYS.own(k) for k in manifest} == set(Dust3r(SMALL).state_dict())
    return recipe.state_dict(manifest)


def pth(entries, folder):
    about = "AsymmetricCroCo3DStereo(pos_embed='RoPE100', img_size=(224, 224), head_type='linear')"
    arguments = argparse.Namespace(model=about, lr=1e-4, output_dir=pathlib.PurePosixPath("out"))
    torch.save({"args": arguments, "model": entries, "epoch": 7}, folder / "w.pth")
    return folder / "w.pth"


def safetensors(entries, folder):
    save_file(entries, folder / "DUSt3R_224_linear.safetensors")
    return folder / "DUSt3R_224_linear.safetensors"


def hub_folder(entries, folder):
    save_file(entries, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"img_size": [224, 224], "head_type": "linear"}))
    return folder


def sharded(entries, folder):
    names = list(entries)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({k: entries[k] for k in keys}, folder / file)
    index = {"metadata": {}, "weight_map": {k: file for file, keys in parts.items() for k in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"img_size": [224, 224]}))
    return folder


@pytest.mark.parametrize("write", [pth, safetensors, hub_folder, sharded])
def test_real_structures_load_and_are_recognised(entries, tmp_path, write):
    path = write(entries, tmp_path)
    assert models.detect(path) == "dust3r-224-linear"
    net = models.load_model("auto", weights=path, device="cpu")
    assert net.params == Dust3rParams(**{**SMALL.__dict__, "long_side": 224})
    for key, value in entries.items():
        assert torch.equal(net.state_dict()[KEYS.own(key)], value), key
    with pytest.raises(ReconError, match=r"holds dust3r-224-linear, not dust3r-512-linear"):
        models.load_model("dust3r-512-linear", weights=path, device="cpu", params=SMALL)


def test_a_checkpoint_of_another_model_is_refused_with_its_first_keys(entries, tmp_path):
    path = pth(entries, tmp_path)
    with pytest.raises(ReconError, match=r"does not belong to this network: missing decoder1\..* and \d+ more; unknown head1\.proj\.bias"):
        models.load_model("dust3r-512-dpt", weights=path, device="cpu")
    save_file({"something.else": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ReconError, match=r"belongs to no model here; its first keys: something\.else"):
        models.detect(tmp_path / "x.safetensors")
    with pytest.raises(ReconError, match=r"does not belong .*unknown something\.else"):
        models.load_model("mast3r-metric", weights=tmp_path / "x.safetensors", device="cpu")


def test_half_precision_becomes_float32(entries, tmp_path):
    save_file({k: v.half() for k, v in entries.items()}, tmp_path / "half.safetensors")
    net = models.load_model("dust3r-512-linear", weights=tmp_path / "half.safetensors", device="cpu")
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_lightning_files_hold_more_than_the_network(tmp_path, monkeypatch):
    keys = KeyTable(prefix="encoder.", beside=(r"losses\.",))
    name = "lightning.fabric.utilities.data"
    settings = type("AttributeDict", (dict,), {"__module__": name})
    with monkeypatch.context() as patch:  # as if lightning were installed where the file was written
        for depth in range(1, 5):
            patch.setitem(sys.modules, ".".join(name.split(".")[:depth]), types.ModuleType("x"))
        sys.modules[name].AttributeDict = settings  # type: ignore[attr-defined]
        state = {"encoder.a": torch.ones(2), "losses.0.lpips.net.weight": torch.ones(3)}
        raw = {"state_dict": state, "epoch": 1, "pytorch-lightning_version": "2.1", "hyper_parameters": settings(lr=1e-4), "callbacks": {}}
        torch.save(raw, tmp_path / "re10k.ckpt")
    found = read_checkpoint(tmp_path / "re10k.ckpt")
    assert list(keys.inner(found.entries)) == ["a"]
    assert list(keys.inner({"encoder.a": torch.ones(2), "decoder.b": torch.ones(2)})) == ["a", "decoder.b"]  # unknown: stays, and will not fit


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"model": {"a": torch.ones(1)}, "args": x}, lambda x: {"state_dict": x}])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, wrap, capsys):
    torch.save(wrap(Evil()), tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(wrap(Evil())))
    for name in ("evil.pth", "bare.pth"):
        with pytest.raises(ReconError, match=r"cannot be read as weights: it (would run|is no torch file)"):
            read_checkpoint(tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_folders_and_shards_that_are_not_whole(entries, tmp_path):
    with pytest.raises(ReconError, match=r"must hold one checkpoint .*, got none"):
        read_checkpoint(tmp_path)
    folder = sharded(entries, tmp_path)
    index = folder / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    index.write_text(json.dumps({"weight_map": told["weight_map"] | {"extra": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(ReconError, match="extra"):
        read_checkpoint(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    with pytest.raises(ReconError, match="must lie beside it"):
        read_checkpoint(folder)
    with pytest.raises(ReconError, match="no weights file"):
        read_checkpoint(tmp_path / "none.pth")


def test_not_finite_values_are_refused(entries, tmp_path):
    save_file(entries | {"mask_token": torch.full((1, 1, 64), torch.nan)}, tmp_path / "nan.safetensors")
    with pytest.raises(ReconError, match="mask_token holds values that are not finite"):
        models.load_model("dust3r-512-linear", weights=tmp_path / "nan.safetensors", device="cpu")


def test_a_checkpoint_tells_its_shapes():
    assert Checkpoint({"a": torch.zeros(2, 3)}).shapes == {"a": (2, 3)}
