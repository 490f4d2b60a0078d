"""Contains Dust3rModel: DUSt3R or MASt3R with the way from pairwise pointmaps to a Scene.

    photos -> each encoded once -> pairs -> pointmaps of both views in the first one's axes
           -> spanning tree, focal lengths (Weiszfeld), poses (PnP) -> more than two photos: global alignment -> depth all pairs agree on
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from recon.cameras.solve import Placed, given_cameras
from recon.errors import ReconError
from recon.models.dust3r.alignment import Alignment, Known, agreed_depth, align
from recon.models.dust3r.grids import covered, network_grid
from recon.models.dust3r.network import Dust3r
from recon.models.dust3r.optimisation import optimise
from recon.models.dust3r.pairs import PairKind, PairPoints, pair_graph, predict_pairs
from recon.models.dust3r.tracks import match_tracks
from recon.photos.moves import principal_points
from recon.surfaces.assembly import assemble
from recon.surfaces.depth_maps import CONFIDENCE_OF_ERROR, DepthMaps

if TYPE_CHECKING:
    from recon.models.spec import Progress
    from recon.scene import Cameras, Images, Scene

AlignmentKind = Literal["optimise", "closed-form"]


class Dust3rModel(Dust3r):
    """Dust3r that also takes Images and gives a Scene."""

    def __call__(self, images, *others, **options):  # Tensors -> outputs of a pair (nn.Module's way), Images -> Scene
        """The raw outputs of a pair of image tensors, or the scene of Images; see `reconstruct`."""
        return super().__call__(images, *others) if isinstance(images, Tensor) else self.reconstruct(images, **options)

    @torch.inference_mode()
    def reconstruct(
        self, images: Images, *, cameras: Cameras | None = None, pairs: PairKind = "auto", alignment: AlignmentKind = "optimise",
        progress: Progress | None = None, **other_families: Any,
    ) -> Scene:  # fmt: skip
        """The scene of the photos on the grid of `images`.

        `cameras` (on the grid of `images`; NaN where unknown) are kept; `pairs` says which photos are looked at together: all, three neighbours on
        each side, or all with the first; `alignment`: "closed-form" leaves out the optimisation that more than two photos get. The unit is
        that of two or more given places, else MASt3R's own, the metre. Options of other families are taken and left alone.
        """
        if alignment not in get_args(AlignmentKind):
            raise ReconError(f"unknown alignment {alignment!r}; one of: {', '.join(get_args(AlignmentKind))}")
        tell = progress or (lambda text, share: None)
        tell("pointmaps", 0.0)
        grid = network_grid(images, self.params.long_side)
        found = predict_pairs(self, grid, pair_graph(len(images), pairs), lambda share: tell("pointmaps", 0.5 * share))
        known = known_cameras(cameras, images, grid)
        tell("cameras", 0.5)
        aligned = align(found, known)
        if len(images) > 2 and alignment == "optimise":
            aligned = optimise(found, known, aligned, lambda share: tell("cameras", 0.5 + 0.4 * share))
        tell("points", 0.9)
        scene = scene_of(images, grid, found, aligned, known)
        given_scale = int(known.has_pose.sum()) >= 2
        scene = replace(scene, metric=not given_scale and self.params.head == "catmlp+dpt")
        tell("done", 1.0)
        return scene


def known_cameras(cameras: Cameras | None, images: Images, grid: Images) -> Known:
    """Given cameras on the network's grid."""
    K, T = given_cameras(cameras, images, grid)
    views = len(images)
    tensor = lambda x, side: torch.full((views, side, side), torch.nan) if x is None else torch.as_tensor(x, dtype=torch.float32)
    return Known(K=tensor(K, 3), cam_to_world=tensor(T, 4), principal=torch.as_tensor(principal_points(grid), dtype=torch.float32))


def scene_of(images: Images, grid: Images, pairs: PairPoints, aligned: Alignment, known: Known) -> Scene:
    """The scene on the grid of `images`; DUSt3R's confidence is already this project's measure (its loss has the same constant)."""
    depth, confidence = agreed_depth(pairs, aligned)
    maps = DepthMaps(
        depth=depth, relative_error=CONFIDENCE_OF_ERROR / confidence, valid=torch.ones_like(depth), seen=torch.zeros_like(depth, dtype=torch.bool)
    )
    placed = Placed(
        K=aligned.K.double().numpy(), cam_to_world=aligned.cam_to_world.double().numpy(),
        placed_by=tuple("given" if given else "pointmap" for given in known.has_pose.tolist()),
        confidence=view_confidence(pairs).numpy(), log_scales=depth.new_zeros(len(depth)).numpy(),
    )  # fmt: skip
    shown = replace(images, mask=images.mask & covered(grid, images).to(images.mask.device))
    report = {"cameras_from": "pointmaps", "pairs": len(pairs.index)}
    scene = assemble(shown, grid, grid, placed, None, maps, [[] for _ in range(len(images))], report=report)
    scene = replace(scene, images=images)
    return replace(scene, tracks=match_tracks(scene, grid, pairs)) if pairs.descriptors else scene


def view_confidence(pairs: PairPoints) -> Tensor:  # [V] 0..1
    """How sure the network is of each view: of the best pair that holds it, 1 - 1 / mean confidence of the other view's points."""
    sure = 1 - 1 / torch.minimum(pairs.first_confidence.mean((1, 2)), pairs.second_confidence.mean((1, 2)))
    best = torch.zeros(pairs.views)
    for side in range(2):
        best = best.scatter_reduce(0, pairs.index[:, side], sure, "amax")
    return best
