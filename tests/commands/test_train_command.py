"""The command `recon train`: what it refuses, and that torchrun leaves its options alone."""

import argparse

import pytest

from recon.cli import main
from recon.commands.train import NETWORKS, add_arguments
from recon.models.training.run import DEFAULTS


def test_the_networks_are_those_that_can_be_trained() -> None:
    assert set(NETWORKS) == set(DEFAULTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "1", "--network", "other"], "invalid choice: 'other'"),
        (["--minutes", "1", "--sides", "224", "0"], "--sides is 0; wanted above 0"),
        (["--minutes", "1", "--only-gaussians", "--network", "recon-mvs"], "to go on from: --network recon-mvs --begin-from FILE"),
        (["--minutes", "1", "--only-gaussians", "--begin-from", "w.safetensors"], "needs weights of recon-mvs"),
        (["--minutes", "1", "--begin-from", "absent.safetensors", "--device", "cpu"], "no weights file absent.safetensors"),
    ],
)
def test_wrong_calls_are_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) in (1, 2)
    assert message in capsys.readouterr().err


def test_no_option_is_the_beginning_of_torchruns_own() -> None:
    """torchrun reads abbreviations even behind the module's name, and refuses those that two of its options begin with."""
    from torch.distributed.run import get_args_parser

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = [name for action in parser._actions for name in action.option_strings if name not in ("-h", "--help")]
    for name in options:
        parsed = get_args_parser().parse_args(["--nproc-per-node", "2", "-m", "recon.cli", "train", name, "1"])
        assert parsed.training_script_args == ["train", name, "1"], name
