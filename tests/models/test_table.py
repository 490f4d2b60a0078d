"""The table of models: what the user is told of them, and downloads from a hub."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recon import models
from recon.cli import main
from recon.errors import ReconError
from recon.models.hub import hub_file
from recon.models.spec import Weights


def test_every_entry_is_told_in_full(capsys):
    assert main(["models", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["models"]
    assert [m["name"] for m in table] == list(models.MODELS)
    for model in table:
        entry = models.model_spec(model["name"])
        assert entry.name == model["name"] and entry.licence and entry.inputs and entry.outputs and entry.parameters > 1e6
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "model" and len(lines) == 1 + len(table)


def test_commercial_only_leaves_out_the_others(capsys):
    assert main(["models", "--commercial-only", "--json"]) == 0
    names = [m["name"] for m in json.loads(capsys.readouterr().out)["models"]]
    assert "recon-small" in names and not {"dust3r-512-dpt", "mast3r-metric"} & set(names)
    assert set(names) == {name for name in models.MODELS if models.model_spec(name).commercial}


@pytest.mark.parametrize("name", models.MODELS)
def test_parameters_are_counted(name):
    entry = models.model_spec(name)
    with torch.device("meta"):
        net = entry.build(entry.params)
    assert sum(p.numel() for p in net.parameters()) == entry.parameters


def test_importing_the_table_imports_no_network(root):
    code = "import recon.models, sys; print(*[m for m in sys.modules if m.startswith('recon.models.')], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == ["False"]


def test_auto_needs_weights():
    with pytest.raises(ReconError, match="model 'auto' is told by the weights"):
        models.load_model("auto", weights="random")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one repository, its cache laid out as the real one's: files are links to blobs named by their sha256."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    save_file({"a": torch.ones(3)}, tmp_path / "x")
    digest = hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
    (tmp_path / "x").rename(blobs / digest)
    (snapshot / "model.safetensors").symlink_to(blobs / digest)
    asked = []

    def hf_hub_download(repo: str, file: str, revision: str | None = None) -> str:
        asked.append((repo, file, revision))
        if not (snapshot / file).exists():
            raise OSError("404")
        return str(snapshot / file)

    def snapshot_download(repo: str, revision: str | None = None, allow_patterns: list[str] | None = None) -> str:
        asked.append((repo, tuple(allow_patterns or ()), revision))
        return str(snapshot)

    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download, module.snapshot_download = hf_hub_download, snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return types.SimpleNamespace(asked=asked, blob=blobs / digest, digest=digest)


def test_hub_files_are_pinned_and_checked(hub):
    weights = Weights(hub_id="owner/name", file="model.safetensors", revision="abc", sha256=hub.digest)
    assert weights.path().read_bytes() == hub.blob.read_bytes()
    assert hub.asked == [("owner/name", "model.safetensors", "abc")]
    with pytest.raises(ReconError, match=r"sha256 is .*, wanted 0000"):
        hub_file("owner/name", "model.safetensors", "abc", "0" * 64)
    with pytest.raises(ReconError, match=r"owner/name/other could not be downloaded: 404"):
        hub_file("owner/name", "other", None, None)
    hub.blob.write_bytes(b"broken")  # the hub names large files by their digest: known without being told
    with pytest.raises(ReconError, match="sha256 is"):
        hub_file("owner/name", "model.safetensors", None, None)


def test_a_hub_id_as_weights(hub):
    with pytest.raises(ReconError, match=r"belongs to no model here; its first keys: a"):
        models.detect("owner/name@v1.0")
    assert hub.asked[0][0] == "owner/name" and hub.asked[0][2] == "v1.0"
    assert models.fingerprint("dust3r-512-dpt", "owner/name") == {"file": "model.safetensors", "sha256": hub.digest}
    with pytest.raises(ReconError, match=r"no weights file some/where\.safetensors"):
        models.load_model("dust3r-512-dpt", weights="some/where.safetensors")


def test_without_the_hubs_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ReconError, match="needs huggingface_hub: pip install huggingface_hub"):
        models.load_model("dust3r-512-dpt")


def test_files_that_a_person_must_fetch():
    with pytest.raises(ReconError, match=r"x\.ckpt cannot be downloaded by a program: fetch it from there, then give weights=PATH"):
        Weights(file="x.ckpt", fetch="there").path()


def test_fingerprints(tmp_path):
    assert models.fingerprint("recon-small", "random") == "random"
    file = Path(tmp_path / "w.pth")
    file.write_bytes(b"abc")
    assert models.fingerprint("recon-small", file) == {"file": "w.pth", "sha256": hashlib.sha256(b"abc").hexdigest()}
