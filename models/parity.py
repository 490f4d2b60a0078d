"""Contains the comparison of our networks with recorded outputs of their references: `python -m recon.models.parity FIXTURE.pt ...`

A fixture holds inputs, outputs, and a reduced configuration under `config` with its `manifest`; or it is of a full-size published model named by its
file, whose manifest is in it or in manifests/ beside it. The weights come from the recipe, the reference's keys are loaded strictly.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recon.errors import FileError, ReconError
from recon.models import MODELS, recipe
from recon.models.checkpoints import Checkpoint, fit
from recon.models.loading import candidates, inner_shapes
from recon.models.spec import ModelSpec

MAP_TOLERANCE, TOKEN_TOLERANCE = 1e-3, 1e-4  # of the largest value, in float32
LONG_NAMES = {"tgs": "triplanegaussian"}
TOKENS = re.compile(r"inter\.|feat|token|pose")


class Row(NamedTuple):
    """One output compared."""

    name: str
    error: float  # largest difference over largest value of the reference; of bools the share that differs
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # False for NaN


def network_of(fixture: Mapping[str, Any], path: Path) -> tuple[nn.Module, ModelSpec]:
    """Our network with the fixture's weights, and its entry. Raises ReconError where the fixture is of no network here or the keys do not fit."""
    manifest = fixture.get("manifest") or manifest_beside(path)
    checkpoint = Checkpoint(recipe.state_dict(manifest, fixture), path.name)
    names = candidates(checkpoint, [make() for make in MODELS.values()])
    if not names:
        raise ReconError(f"{path} is of no network here; its first keys: {', '.join(list(manifest)[:3])}")
    entry = MODELS[names[0]]()
    assert entry.published is not None, names
    keys = entry.published.keys
    outside = {name: value for name, value in outside_parts(fixture).items() if keys.source_of(name) is None}  # the checkpoint's own entries win
    checkpoint = Checkpoint(outside | checkpoint.entries, path.name)
    params = entry.published.sizes(inner_shapes(checkpoint, entry), entry.params)
    if fixture.get("config"):
        params = entry.published.configured(params, fixture["config"])
    with torch.device("meta"):
        net = entry.build(params)
    state = fit(checkpoint, entry.published.keys, {key: tuple(value.shape) for key, value in net.state_dict().items()}, path)
    net.load_state_dict(state, strict=True, assign=True)
    return net.eval().requires_grad_(False), entry


def outside_parts(fixture: Mapping[str, Any]) -> dict[str, Tensor]:
    """Entries of the parts that live outside the checkpoint, as `frozen_<part>.<name>`: recorded, or by the recipe without the fixture's changes."""
    out: dict[str, Tensor] = {}
    for key, value in fixture.items():
        if found := re.fullmatch(r"(frozen_\w+?)_(state_dict|manifest)", key):
            state = value if found[2] == "state_dict" else recipe.state_dict(value.get("state_dict", value))
            out |= {f"{found[1]}.{name}": tensor for name, tensor in state.items()}
    return out


def manifest_beside(path: Path) -> recipe.Manifest:
    """The manifest of the full-size model that a fixture's name tells: the one that shares most words with it. Raises FileError where none does."""
    folders = [path.parent / "manifests", path.parent, path.parent.parent / "manifests"]
    files = [file for folder in folders for file in folder.glob("*.json") if "frozen" not in file.stem]
    wanted = words(path.stem)
    scored = [(len(wanted & words(file.stem)), -len(words(file.stem)), file) for file in files]
    best = max(scored, default=(0, 0, path), key=lambda item: item[:2])
    if not best[0]:
        raise FileError(f"{path} has no manifest in it, and none of {folders[0]} is named like it")
    return json.loads(best[2].read_text())["state_dict"]


def words(name: str) -> set[str]:
    """The words of a file's name, in lower case; short names of models count as their long ones."""
    found = set(re.split(r"[^a-z0-9]+", name.lower())) - {"full", "small"}
    return found | {LONG_NAMES[word] for word in found & set(LONG_NAMES)}


@torch.inference_mode()
def compare(path: Path) -> list[Row]:
    """Every recorded output of a fixture beside ours. Raises ReconError for a file that is no fixture of a network here."""
    try:
        fixture = torch.load(path, weights_only=True)
    except Exception as error:
        raise FileError(f"{path} cannot be read as a fixture: {error}") from error
    if not isinstance(fixture, dict) or not {"inputs", "outputs"} <= set(fixture):
        raise FileError(f"{path} is no fixture: wanted a table with inputs and outputs")
    net, entry = network_of(fixture, path)
    assert entry.published is not None, entry.name
    inputs = fixture["inputs"]
    nested = all(isinstance(value, dict) for value in inputs.values())
    rows = []
    for case, values in inputs.items() if nested else [("", inputs)]:
        ours = entry.published.run(net, values)
        recorded = fixture["outputs"][case] if nested else fixture["outputs"]
        rows += [_row(name, a, b) for name, a, b in pairs(case, recorded, ours)]
    return rows


def pairs(name: str, recorded: Any, ours: Any) -> Iterator[tuple[str, Tensor, Any]]:
    """Name, recorded tensor and our value of every tensor of a nested output."""
    if isinstance(recorded, Tensor):
        yield name, recorded, ours
        return
    for key, value in recorded.items() if isinstance(recorded, dict) else enumerate(recorded):
        inside = ours.get(key) if isinstance(ours, dict) else ours[key] if isinstance(ours, list | tuple) and key < len(ours) else None
        yield from pairs(f"{name}.{key}".lstrip("."), value, inside)


def _row(name: str, recorded: Tensor, ours: Tensor | None) -> Row:
    tolerance = TOKEN_TOLERANCE if TOKENS.search(name) else MAP_TOLERANCE
    if ours is None:
        return Row(f"{name} (not given)", float("nan"), tolerance)
    ours = thinned(ours, recorded)
    if ours.shape != recorded.shape:
        return Row(f"{name} {list(ours.shape)}, wanted {list(recorded.shape)}", float("nan"), tolerance)
    if not recorded.is_floating_point():
        return Row(name, float((ours != recorded).float().mean()), 0.0)
    if name.endswith("depth"):  # where far away, only the disparity is worth comparing
        recorded, ours = 1 / recorded, 1 / ours
    scale = recorded.abs().max().double().clamp(min=1e-30)
    return Row(name, float((ours.double() - recorded.double()).abs().max() / scale), tolerance)


def thinned(ours: Tensor, recorded: Tensor) -> Tensor:
    """Ours at the places that a fixture with `outputs_stride` keeps: every n-th along the dimensions that are shorter there."""
    if ours.ndim != recorded.ndim:
        return ours
    for dim, (whole, kept) in enumerate(zip(ours.shape, recorded.shape, strict=True)):
        if kept < whole:
            stride = -(-whole // kept)
            ours = ours.index_select(dim, torch.arange(0, whole, stride, device=ours.device))
    return ours


def main(arguments: list[str] | None = None) -> int:
    """Prints a line an output; 1 where one is beyond its tolerance or a file cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m recon.models.parity", description="Our networks against recorded outputs of their references.")
    parser.add_argument("fixtures", nargs="+", type=Path, help="files of recorded inputs and outputs")
    code = 0
    for path in parser.parse_args(arguments).fixtures:
        try:
            rows = compare(path)
        except ReconError as error:
            print(f"{path.name}: {error}")
            code = 1
            continue
        for row in rows:
            print(f"{path.stem:<28} {row.name:<40} {row.error:9.2e}  <= {row.tolerance:.0e}  {'ok' if row.passed else 'MISS'}")
        code = max(code, not all(row.passed for row in rows))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
