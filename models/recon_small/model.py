"""Contains ReconSmallModel: recon-small with the way from its outputs to a Scene (cameras from matches, depth from the pointmap).

    photos --320 px--> forward: depth, validity, lens prior, fallback pose        (coordinates hold at the trained size)
           --640 px--> descriptors -> matches (+ SIFT) -> relative poses -> bundle (matches gain from resolution)
                       descriptors + cameras + pointmap -> plane sweep (recon-mvs): depth of what a second view sees
    views checked against each other and merged to one layer, unprojected with the cameras, one Gaussian a pixel
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from recon.cameras.agreement import agreement
from recon.cameras.doubt import doubted
from recon.cameras.matching import MatchKind, find_matches, sift_ahead
from recon.cameras.overlays import still_cells, still_warnings, without, without_bars
from recon.cameras.pairing import PairChoice, choose_pairs
from recon.cameras.solve import solve
from recon.cores import one_thread_each
from recon.models.recon_mvs.sweep import load_sweeper, sweep
from recon.models.recon_small.matches import own_descriptors, own_matches
from recon.models.recon_small.network import ReconSmall
from recon.models.recon_small.prediction import predict, sight_of
from recon.photos.grid import resize
from recon.surfaces.assembly import assemble
from recon.surfaces.completion import completed
from recon.surfaces.depth_alignment import aligned_log_depth
from recon.surfaces.depth_maps import POINTMAP_ERROR, DepthMaps
from recon.surfaces.resolve import partners, resolve

if TYPE_CHECKING:
    from recon.models.spec import Progress
    from recon.scene import Cameras, Images, Scene

POINTMAP_LONG_SIDE, MATCH_LONG_SIDE = 320, 640
SurfaceKind = Literal["sweep", "pointmap"]
PlaceChoice = Literal["held", "all"]


class ReconSmallModel(ReconSmall):
    """ReconSmall that also takes Images and gives a Scene."""

    def __call__(self, images, **options):  # Tensor -> dict of tensors (nn.Module's way), Images -> Scene
        """The raw outputs of a tensor of images, or the scene of Images; see `reconstruct`."""
        return super().__call__(images) if isinstance(images, Tensor) else self.reconstruct(images, **options)

    @torch.inference_mode()
    def reconstruct(
        self, images: Images, *, cameras: Cameras | None = None, matches: MatchKind = "both", match_long_side: int | None = None,
        pointmap_long_side: int = POINTMAP_LONG_SIDE, surfaces: SurfaceKind = "sweep", progress: Progress | None = None,
        pairs: PairChoice = "auto", place: PlaceChoice = "held", seed: int = 0,
    ) -> Scene:  # fmt: skip
        """The scene of the photos on the grid of `images`.

        `cameras` (on the grid of `images`; NaN where unknown) are kept; `matches` says which correspondences place the views.
        The long sides are the resolutions of the network's two branches; matches and sweep are made at MATCH_LONG_SIDE, or on the grid of
        `images` where that is finer. `surfaces`: "sweep" takes the depth of what two views see from recon-mvs,
        "pointmap" all depth from this network.
        `pairs`: which pairs of views are matched; `place`: "all" keeps the pointmap's guess of views that neither matches nor geometry hold.
        """
        tell = progress or (lambda text, share: None)
        tell("depth", 0.0)
        images, bars = without_bars(images)
        matched = match_long_side or max(MATCH_LONG_SIDE, *images.rgb.shape[1:3])
        several, device = len(images) > 1, next(self.parameters()).device
        found, still = {}, np.zeros((1, 1), bool)
        with one_thread_each() if device.type != "cpu" else nullcontext():  # beside a GPU the cores are SIFT's
            coarse, fine = resize(images, pointmap_long_side), resize(images, matched)
            features = sift_ahead(fine, device) if several and matches in ("both", "sift") else None
            prediction = predict(self, coarse)
            sight = sight_of(images, coarse, fine, prediction)
            tell("matches", 0.2)
            descriptors = own_descriptors(self, fine) if several else []
            if several and matches != "none":
                chosen = choose_pairs(prediction.similarity, pairs)
                matcher = (lambda i, j: own_matches(self, descriptors[i], descriptors[j])) if matches in ("both", "own") else None
                step = lambda share: tell("matches", 0.2 + 0.3 * share)
                every = find_matches(chosen, matcher, features, step=step, device=device)
                still = still_cells(every, fine)
                found = without(every, still) if still.any() else every
        tell("cameras", 0.5)
        guess, stage = place == "all" or matches == "none", lambda name: tell(name, 0.55)
        placed, bundle = solve(images, fine, sight, found, cameras, guess=guess, seed=seed, ordered=pairs == "sequence", stage=stage)
        witnesses = agreement(sight, fine, placed, bundle)
        placed, doubts = doubted(placed, witnesses, images.names)
        maps = DepthMaps(
            depth=aligned_log_depth(sight, fine, placed, bundle, seed, device=device).exp(),
            relative_error=POINTMAP_ERROR / prediction.confidence,
            valid=prediction.valid, seen=torch.zeros_like(prediction.valid, dtype=torch.bool), corrections=prediction.gaussians,
        )  # fmt: skip
        grid, checked = coarse, [[] for _ in range(len(images))]
        if several and surfaces == "sweep":
            tell("surfaces", 0.6)
            prior, grid = maps.moved(coarse, fine), fine
            sweeper, step = load_sweeper(str(device)), lambda share: tell("surfaces", 0.6 + 0.3 * share)
            swept, sources = sweep(sweeper, fine, descriptors, self.scales(), placed, bundle, prior, step=step)
            checked = partners(sources)
            maps = resolve(swept, prior, sources, torch.as_tensor(placed.K), torch.as_tensor(placed.cam_to_world), seed)
            maps = completed(maps, fine.rgb)
        tell("points", 0.9)
        report = {"agreement": witnesses, "partners": list(placed.partners), "doubts": [*still_warnings(still, bars), *doubts]}
        scene = assemble(images, grid, fine, placed, bundle, maps, checked, report=report, device=device)
        tell("done", 1.0)
        return scene
