"""Contains ModelSpec, one entry of the table of models, and Reconstructor, the protocol every model follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recon import weights

if TYPE_CHECKING:
    from torch import nn

    from recon.scene import Cameras, Images, Scene

Progress = Callable[[str, float], None]  # what is being done, share done 0..1


class Reconstructor(Protocol):
    """A network as the rest of the project sees it: photos in, scene out."""

    def __call__(self, images: Images, *, cameras: Cameras | None = None, progress: Progress | None = None, **options: Any) -> Scene:
        """The scene of the photos, in inference mode; `cameras` are known cameras on the grid of `images`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights of a model are: a file in assets/weights, or a file of a hub at a fixed revision."""

    file: str
    hub_id: str | None = None
    revision: str | None = None
    sha256: str | None = None

    def path(self) -> Path:
        """The file on this machine, downloaded when it is on a hub; WeightsError when there is none."""
        if self.hub_id is None:
            return weights.packaged(self.file)
        assert self.revision and self.sha256, self
        return weights.from_hub(self.hub_id, self.file, self.revision, self.sha256)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a user must know of a model before loading it, and how to build it."""

    name: str
    family: str
    build: Callable[[Any], nn.Module]  # params -> network with random weights; also a Reconstructor
    params: Any  # frozen dataclass of sizes
    weights: Weights
    licence: str
    commercial: bool
    needs_cameras: bool
    gives_gaussians: bool
    metric: bool
    summary: str = ""
