"""Contains how the published MVSplat checkpoints name and size things, and the reference's form of inputs and outputs for parity."""

from __future__ import annotations

import re
from dataclasses import replace
from math import isqrt
from typing import Any

from torch import Tensor

from recon.models.checkpoints import KeyTable, Shapes
from recon.models.layers.unet import UNetParams
from recon.models.mvsplat.network import MVSplat, MVSplatParams

NAMES = ("mvsplat-re10k", "mvsplat-acid")
_DEPTH = r"depth_predictor\."
KEYS = KeyTable(
    prefix="encoder.",
    beside=(r"losses\.", r"decoder\.", r"encoder\.(epipolar_transformer|encoder_visualizer)\."),
    renames=(
        (r"backbone\.backbone\.", "backbone.encoder."),
        (r"backbone\.transformer\.layers\.", "backbone.layers."),
        (r"(backbone\.encoder\..*)downsample\.0\.", r"\1downsample."),
        (rf"{_DEPTH}corr_refine_net\.(0|1)\.", r"cost_in.\1."),
        (rf"{_DEPTH}corr_refine_net\.3\.", "cost_net."),
        (rf"{_DEPTH}corr_refine_net\.4\.", "cost_out."),
        (rf"{_DEPTH}regressor_residual\.", "cost_skip."),
        (rf"{_DEPTH}depth_head_lowres\.", "plane_head."),
        (rf"{_DEPTH}upsampler\.", "upsampler."),
        (rf"{_DEPTH}proj_feature\.", "feature_in."),
        (rf"{_DEPTH}refine_unet\.(0|1)\.", r"refine_in.\1."),
        (rf"{_DEPTH}refine_unet\.3\.", "refine_net."),
        (rf"{_DEPTH}to_gaussians\.", "gaussian_head."),
        (rf"{_DEPTH}to_disparity\.", "depth_head."),
    ),
)  # fmt: skip


def recognise(shapes: Shapes, about: str) -> tuple[str, ...]:
    """The models that these entries can be of; the two published ones differ only in the file's name."""
    if "depth_predictor.corr_refine_net.0.weight" not in shapes or "backbone.transformer.layers.0.self_attn.q_proj.weight" not in shapes:
        return ()
    said = re.search(r"re10k|acid", about.lower())
    return (f"mvsplat-{said[0]}",) if said and "re10k_or_acid" not in about else NAMES


def sizes(shapes: Shapes, base: MVSplatParams) -> MVSplatParams:
    """The sizes of a file of the family; `base` says the rest."""
    planes, gaussian = shapes["depth_predictor.regressor_residual.weight"][0], shapes["depth_predictor.to_gaussians.2.weight"][0]
    return replace(
        base, features=shapes["backbone.backbone.conv2.weight"][0], planes=planes, sh_degree=isqrt((gaussian - 9) // 3) - 1,
        cost=_unet(shapes, "depth_predictor.corr_refine_net.3."), depth=_unet(shapes, "depth_predictor.refine_unet.3."),
    )  # fmt: skip


def _unet(shapes: Shapes, stem: str) -> UNetParams:
    """Of a U-Net whose input blocks are a stem and then, level by level, a residual block and a step down."""
    blocks = {int(m[1]) for m in (re.match(rf"{re.escape(stem)}input_blocks\.(\d+)\.", key) for key in shapes) if m}
    attention = tuple(2 ** (block // 2) for block in sorted(blocks) if f"{stem}input_blocks.{block}.1.qkv.weight" in shapes)
    return UNetParams(shapes[f"{stem}input_blocks.0.0.weight"][0], len(blocks) // 2, attention)


def configured(params: MVSplatParams, config: dict[str, Any]) -> MVSplatParams:
    """The sizes read from shapes with what only the reference's configuration says."""
    return replace(params, splits=config["multiview_trans_attn_split"])


def run(net: MVSplat, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reference's outputs from its inputs."""
    out = net(inputs["image"], inputs["intrinsics"], inputs["extrinsics"], inputs["near"], inputs["far"])
    across, alone = net.backbone(inputs["image"])
    return {
        "means": out.means, "covariances": out.covariances, "harmonics": out.sh, "opacities": out.opacities, "depth": out.depth[..., None, None],
        "scales": out.scales, "rotations": out.quats.roll(-1, -1), "trans_features": across.transpose(0, 1), "cnn_features": alone.transpose(0, 1),
    }  # fmt: skip
