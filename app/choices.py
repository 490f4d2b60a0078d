"""Which networks a visitor may choose, in plain words with their licences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recon.app.job import MODEL
from recon.app.limits import Refused

PLAIN = {  # name -> what it is good for, in words for people
    "recon-small": "recon: any photos, on any computer",
    "dust3r-224-linear": "DUSt3R, small: rough and quick",
    "dust3r-512-linear": "DUSt3R: robust with few photos, wants a graphics card",
    "dust3r-512-dpt": "DUSt3R, fine: robust with few photos, wants a graphics card",
    "mast3r-metric": "MASt3R: robust, and in metres, wants a graphics card",
    "mvsplat-re10k": "MVSplat for rooms and houses: two or more photos close together",
    "mvsplat-acid": "MVSplat for landscapes: two or more photos close together",
    "triplane-gaussian": "TriplaneGaussian: one object from one photo",
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """`models`: name -> the server's own weights, None for the packaged ones; `names`: (words, name) for a list; `licences`: in a line."""

    models: dict[str, Path | None]
    names: list[tuple[str, str]]
    licences: str


def choices_of(weights: Sequence[str]) -> Choices:
    """The default network, and those for which the server was given weights, as NAME=FILE. Raises Refused."""
    from recon.models import list_models

    table = {model["name"]: model for model in list_models()}
    models: dict[str, Path | None] = {MODEL: None}
    for text in weights:
        name, _, path = text.partition("=")
        if name not in table or not path:
            raise Refused(f"--weights is {text!r}, wanted NAME=FILE with a name of: {', '.join(table)}")
        if not Path(path).exists():
            raise Refused(f"--weights {name}: there is no {path}")
        models[name] = Path(path).resolve()
    licence = lambda name: "" if table[name]["commercial"] else ", no commercial use"
    names = [(f"{PLAIN.get(name, table[name]['summary'])}{licence(name)}", name) for name in models]
    terms = lambda name: str(table[name]["licence"]).replace("as this project", "Apache-2.0 as recon itself")
    licences = "Licences of the weights: " + "; ".join(f"{name}: {terms(name)}" for name in models) + "."
    return Choices(models=models, names=names, licences=licences)
