"""Contains ReconSmallModel: recon-small with the way from its outputs to a Scene (cameras from matches, depth from the pointmap).

    photos --320 px--> forward: depth, validity, lens prior, fallback pose        (coordinates hold at the trained size)
           --640 px--> descriptors -> matches (+ SIFT) -> relative poses -> bundle (matches gain from resolution)
    depth of each view scaled to the tracks, unprojected with the cameras, one Gaussian a pixel
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recon.cameras.agreement import agreement
from recon.cameras.matching import Matcher, MatchKind, choose_pairs, find_matches
from recon.cameras.solve import solve
from recon.models.recon_small.matches import Described, own_descriptors, own_matches
from recon.models.recon_small.network import ReconSmall
from recon.models.recon_small.prediction import predict, sight_of
from recon.photos.grid import resize
from recon.surfaces.assembly import assemble
from recon.surfaces.depth_alignment import aligned_log_depth

if TYPE_CHECKING:
    from recon.models.spec import Progress
    from recon.scene import Cameras, Images, Scene

POINTMAP_LONG_SIDE, MATCH_LONG_SIDE = 320, 640
PAIR_LIMIT = 150


class ReconSmallModel(ReconSmall):
    """ReconSmall that also takes Images and gives a Scene."""

    def __call__(self, images, **options):  # Tensor -> dict of tensors (nn.Module's way), Images -> Scene
        """The raw outputs of a tensor of images, or the scene of Images; see `reconstruct`."""
        return super().__call__(images) if isinstance(images, Tensor) else self.reconstruct(images, **options)

    @torch.inference_mode()
    def reconstruct(
        self, images: Images, *, cameras: Cameras | None = None, matches: MatchKind = "both", match_long_side: int = MATCH_LONG_SIDE,
        pointmap_long_side: int = POINTMAP_LONG_SIDE, progress: Progress | None = None, seed: int = 0,
    ) -> Scene:  # fmt: skip
        """The scene of the photos on the grid of `images`.

        `cameras` (on the grid of `images`; NaN where unknown) are kept; `matches` says which correspondences place the views.
        The long sides are the resolutions of the network's two branches.
        """
        tell = progress or (lambda text, share: None)
        tell("depth", 0.0)
        coarse, fine = resize(images, pointmap_long_side), resize(images, match_long_side)
        prediction = predict(self, coarse)
        sight = sight_of(images, coarse, fine, prediction)
        found = {}
        if len(images) > 1 and matches != "none":
            tell("matches", 0.3)
            pairs = choose_pairs(len(images), prediction.similarity, PAIR_LIMIT)
            matcher = self.matcher(own_descriptors(self, fine)) if matches in ("both", "own") else None
            found = find_matches(fine, pairs, matcher, sift=matches in ("both", "sift"), step=lambda share: tell("matches", 0.3 + 0.4 * share))
        tell("cameras", 0.7)
        placed, bundle = solve(images, fine, sight, found, cameras, seed=seed, device=next(self.parameters()).device)
        tell("points", 0.9)
        scene = assemble(
            images, coarse, fine, placed, bundle, log_depth=aligned_log_depth(sight, fine, placed, bundle, seed), confidence=prediction.confidence,
            valid=prediction.valid, corrections=prediction.gaussians, report={"agreement": agreement(sight, fine, placed, bundle)},
        )  # fmt: skip
        tell("done", 1.0)
        return scene

    def matcher(self, described: list[Described]) -> Matcher:
        """A function of two views that gives their own matches, in pixels of the grid that was described."""
        return lambda i, j: own_matches(self, described[i], described[j])
