"""Contains ModelSpec, one entry of the table of models, and Reconstructor, the protocol every model follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recon import weights

if TYPE_CHECKING:
    from torch import nn

    from recon.models.checkpoints import KeyTable, Shapes
    from recon.scene import Cameras, Images, Scene

Progress = Callable[[str, float], None]  # what is being done, share done 0..1


class Reconstructor(Protocol):
    """A network as the rest of the project sees it: photos in, scene out."""

    def __call__(self, images: Images, *, cameras: Cameras | None = None, progress: Progress | None = None, **options: Any) -> Scene:
        """The scene of the photos, in inference mode; `cameras` are known cameras on the grid of `images`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights of a model are: a file in assets/weights, a file of a hub, or one that a person must fetch."""

    file: str
    hub_id: str | None = None
    revision: str | None = None  # of the hub's repository; None takes its newest
    sha256: str | None = None  # None trusts the digest that the hub itself gives
    fetch: str = ""  # where a person finds it, for files that are on no hub

    def path(self) -> Path:
        """The file on this machine, downloaded when it is on a hub; WeightsError when there is none."""
        if self.fetch:
            raise weights.WeightsError(f"{self.file} cannot be downloaded by a program: fetch it from {self.fetch}, then give weights=PATH")
        if self.hub_id is None:
            return weights.packaged(self.file)
        from recon.models.hub import hub_file

        return hub_file(self.hub_id, self.file, self.revision, self.sha256)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A part of a network whose weights are not in its checkpoint but in another model's."""

    prefix: str  # of its entries among the published names
    folder: str  # beside the checkpoint, where a person may put it
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class Published:
    """How a family reads the checkpoints that others published of it, and the form in which the reference gives inputs and outputs."""

    keys: KeyTable
    recognise: Callable[[Shapes, str], tuple[str, ...]]  # shapes by published names, what the file says of itself -> models it can be of, or ()
    sizes: Callable[[Shapes, Any], Any]  # shapes, the entry's params -> params
    configured: Callable[[Any, dict[str, Any]], Any]  # params and the reference's configuration -> params
    run: Callable[[Any, dict[str, Any]], dict[str, Any]]  # network, the reference's inputs -> its outputs
    outside: tuple[Outside, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a user must know of a model before loading it, and how to build it."""

    name: str
    family: str
    build: Callable[[Any], nn.Module]  # params -> network with random weights; also a Reconstructor
    params: Any  # frozen dataclass of sizes
    weights: Weights
    licence: str  # of the weights
    commercial: bool
    needs_cameras: bool
    gives_gaussians: bool
    metric: bool
    inputs: str  # what it takes, in words
    outputs: str  # what it gives, in words
    parameters: int
    published: Published | None = None  # None: only this project's own files
    second_stage: Weights | None = None  # of another network that it runs after its own
    summary: str = ""
