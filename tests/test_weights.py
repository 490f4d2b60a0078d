"""Weights on disk: round trip, strictness, untrusted input."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from recon import weights
from recon.errors import ReconError


class Small(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.linear = nn.Linear(width, 5)
        self.scale = nn.Parameter(torch.ones(4))


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    net = Small()
    weights.pack(net.state_dict(), tmp_path / "w.safetensors")
    return net, tmp_path / "w.safetensors"


def test_round_trip_is_within_half_a_step(file):
    net, path = file
    other = Small()
    weights.load_into(other, path)
    for (key, a), b in zip(net.state_dict().items(), other.state_dict().values(), strict=True):
        step = a.flatten(1).abs().amax(1).max() / 127 if a.dim() > 1 else torch.tensor(2e-3)
        assert (a - b).abs().max() <= 0.51 * step, key


def test_zero_rows_and_no_leftovers(tmp_path):
    net = Small()
    nn.init.zeros_(net.conv.weight)
    weights.pack(net.state_dict(), tmp_path / "w.safetensors")
    other = Small()
    weights.load_into(other, tmp_path / "w.safetensors")
    assert other.conv.weight.abs().max() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_parameter_called_scale_is_a_parameter(file):
    _, path = file
    assert weights.read_shapes(path)["scale"] == (4,)


def test_wrong_shape_names_the_key(file):
    with pytest.raises(ReconError, match=r"conv\.weight is \[8, 3, 3, 3\], wanted \[9, 3, 3, 3\]|linear|conv\.bias"):
        weights.load_into(Small(9), file[1])


def test_missing_and_unknown_keys(tmp_path, file):
    state = dict(file[0].state_dict())
    del state["linear.bias"]
    state["extra"] = torch.ones(2)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(ReconError, match=r"missing linear\.bias; unknown extra"):
        weights.load_into(Small(), tmp_path / "x.safetensors")


def test_int8_without_scale_and_wrong_scale(tmp_path, file):
    state = dict(file[0].state_dict())
    state["linear.weight"] = torch.ones(5, 8, dtype=torch.int8)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(ReconError, match="without scales"):
        weights.load_into(Small(), tmp_path / "x.safetensors")
    save_file({**state, "linear.weight.scale": torch.ones(4)}, tmp_path / "x.safetensors")
    with pytest.raises(ReconError, match=r"scales \[4\], wanted int8 with scales \[5\]"):
        weights.load_into(Small(), tmp_path / "x.safetensors")


def test_not_finite(tmp_path, file):
    state = dict(file[0].state_dict())
    state["scale"] = torch.full((4,), torch.nan)
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(ReconError, match="not finite"):
        weights.load_into(Small(), tmp_path / "x.safetensors")


def test_torch_files(tmp_path, file):
    torch.save(file[0].state_dict(), tmp_path / "w.pt")
    weights.load_into(Small(), tmp_path / "w.pt")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(ReconError, match="no table of tensors"):
        weights.load_into(Small(), tmp_path / "w.pt")


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", pickle.dumps(Evil())])
def test_rubbish_is_refused_and_not_executed(tmp_path, name, content, capsys):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReconError, match=r"cannot be read as weights|no table"):
        weights.load_into(Small(), tmp_path / name)
    assert "executed" not in capsys.readouterr().out


def test_absent(tmp_path):
    with pytest.raises(ReconError, match="no weights file"):
        weights.load_into(Small(), tmp_path / "none.safetensors")
    with pytest.raises(ReconError, match="default weights are absent"):
        weights.packaged("none.safetensors")


def test_packing_again_changes_nothing(tmp_path):
    """Training that goes on from packed weights leaves what it holds as it was, bit for bit."""
    torch.manual_seed(0)
    state = {"a.weight": torch.randn(20000, 9) * torch.logspace(-14, 3, 20000)[:, None], "b": torch.randn(50)}
    shapes = {k: tuple(v.shape) for k, v in state.items()}
    weights.pack(state, tmp_path / "first.safetensors")
    once = weights.read(tmp_path / "first.safetensors", shapes)
    weights.pack(once, tmp_path / "second.safetensors")
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()
    twice = weights.read(tmp_path / "second.safetensors", shapes)
    assert all(torch.equal(once[k], twice[k]) for k in state)
