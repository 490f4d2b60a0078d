"""Contains how the published TriplaneGaussian checkpoint names and sizes things, and the reference's form of inputs and outputs for parity."""

from __future__ import annotations

import re
from dataclasses import replace
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from recon.models.checkpoints import KeyTable, Shapes
from recon.models.triplane_gaussian.dino import DinoParams
from recon.models.triplane_gaussian.network import TriplaneGaussian, TriplaneGaussianParams

NAME = "triplane-gaussian"
FROZEN = "frozen_dino."  # of the entries of the encoder that is outside the checkpoint
MOST_LAYERS = 24
_POINTS = r"pointcloud_generator\."
_GROW = rf"{_POINTS}pointcloud_upsampling\.decoder\."
_LAYER = r"(.*image_encoder\.layers\.\d+)\."
_MODULATIONS = tuple((2 * layer + norm - 1, layer, norm) for layer in range(MOST_LAYERS) for norm in (1, 2))  # number, layer, norm
KEYS = KeyTable(
    renames=(
        (r"image_tokenizer\.model\.", "image_encoder."),
        (r"frozen_dino\.", "point_generator.image_encoder."),
        *((rf"{_POINTS}image_tokenizer\.modulations\.{k}\.", f"point_generator.image_encoder.layers.{i}.modulation{n}.") for k, i, n in _MODULATIONS),
        (r"(.*image_encoder)\.embeddings\.patch_embeddings\.projection\.", r"\1.patch_embed."),
        (r"(.*image_encoder)\.embeddings\.", r"\1."),
        (r"(.*image_encoder)\.layernorm\.", r"\1.norm."),
        (r"(.*image_encoder)\.encoder\.layer\.", r"\1.layers."),
        (rf"{_LAYER}norm(\d)_modulation\.", r"\1.modulation\2."),
        (rf"{_LAYER}attention\.attention\.", r"\1."),
        (rf"{_LAYER}attention\.output\.dense\.", r"\1.out."),
        (rf"{_LAYER}layer_scale(\d)\.lambda1", r"\1.scale\2"),
        (r"camera_embedder\.layers\.", "camera."),
        (rf"{_POINTS}camera_embedder\.layers\.", "point_generator.camera."),
        (r"tokenizer\.embeddings", "planes"),
        (rf"{_POINTS}tokenizer\.pcl_embeddings\.weight", "point_generator.tokens"),
        (r"backbone\.", "transformer."),
        (rf"{_POINTS}backbone\.", "point_generator.transformer."),
        (r"(.*transformer)\.transformer_blocks\.", r"\1.blocks."),
        (r"(.*transformer\.blocks\.\d+)\.ff\.net\.0\.proj\.", r"\1.gate."),
        (r"(.*transformer\.blocks\.\d+)\.ff\.net\.2\.", r"\1.out."),
        (r"(.*transformer\.blocks\.\d+\.attn\d)\.to_out\.0\.", r"\1.to_out."),
        (r"post_processor\.upsample\.", "upsample."),
        (rf"{_POINTS}post_processor\.point_layer\.", "point_generator.out."),
        (rf"{_GROW}mlp_feat_cond\.mlp\.", "point_generator.seen."),
        (rf"{_GROW}uppers\.", "point_generator.splits."),
        (r"(point_generator\.splits\.\d+\.mlp_(?:1|2|ps|delta))\.mlp\.", r"\1."),
        (r"renderer\.mlp_net\.layers\.", "mlp."),
        (r"renderer\.gs_net\.out_layers\.", "heads."),
    ),
    aliases=(
        *((rf"image_tokenizer\.modulations\.{k}\.", f"image_tokenizer.model.encoder.layer.{i}.norm{n}_modulation.") for k, i, n in _MODULATIONS),
        *(
            (rf"frozen_dino\.encoder\.layer\.{i}\.norm{n}_modulation\.", f"pointcloud_generator.image_tokenizer.modulations.{k}.")
            for k, i, n in _MODULATIONS
        ),
    ),
)  # fmt: skip


def recognise(shapes: Shapes, about: str) -> tuple[str, ...]:
    """The model, if these entries are of it."""
    marks = ("pointcloud_generator.tokenizer.pcl_embeddings.weight", "renderer.gs_net.out_layers.0.weight", "point_encoder.fc_pos.weight")
    return (NAME,) if all(mark in shapes for mark in marks) else ()


def sizes(shapes: Shapes, base: TriplaneGaussianParams) -> TriplaneGaussianParams:
    """The sizes of a file of the family; attention heads have 64 channels, as in the published one, and `base` says the rest."""
    count = lambda stem: 1 + max(int(m[1]) for m in (re.match(rf"{stem}\.(\d+)\.", key) for key in shapes) if m)
    embeddings = "image_tokenizer.model.embeddings."
    positions, patch = shapes[f"{embeddings}position_embeddings"], shapes[f"{embeddings}patch_embeddings.projection.weight"]
    _, width, plane, _ = shapes["tokenizer.embeddings"]
    dino = DinoParams(positions[2], count(r"image_tokenizer\.model\.encoder\.layer"), max(1, positions[2] // 64), patch[2], isqrt(positions[1]))
    return replace(
        base, dino=dino, width=width, depth=count(r"backbone\.transformer_blocks"), heads=max(1, width // 64), plane=plane,
        points=shapes["pointcloud_generator.tokenizer.pcl_embeddings.weight"][0], encoder_hidden=shapes["point_encoder.blocks.0.fc_0.weight"][0],
        encoder_depth=count(r"point_encoder\.blocks"), renderer_hidden=shapes["renderer.mlp_net.layers.0.weight"][0],
        sh_degree=isqrt(shapes["renderer.gs_net.out_layers.4.weight"][0] // 3) - 1,
    )  # fmt: skip


def configured(params: TriplaneGaussianParams, config: dict[str, Any]) -> TriplaneGaussianParams:
    """The sizes read from shapes with what only the reference's configuration says."""
    system, dino = config["system"], config["dino"]
    return replace(
        params, dino=replace(params.dino, heads=dino["num_attention_heads"]), heads=system["backbone"]["num_attention_heads"],
        side=system["image_tokenizer"]["width"], radius=system["renderer"]["radius"],
    )  # fmt: skip


def run(net: TriplaneGaussian, inputs: dict[str, Any]) -> dict[str, Any]:
    """The reference's outputs from its inputs (one view, one scene)."""
    image, mask = (inputs[name][:, 0].permute(0, 3, 1, 2) for name in ("rgb_cond", "mask_cond"))
    out = net(image, mask, inputs["intrinsic_normed_cond"][:, 0], inputs["c2w_cond"][:, 0])
    of_scene: dict[str, Tensor] = {"xyz": out.means, "opacity": out.opacities[..., None], "rotation": out.quats, "scaling": out.scales, "shs": out.sh}
    return {name: value[0] for name, value in of_scene.items()} | {
        "points": out.stages[-1], "up_results": out.stages, "point_visible": torch.as_tensor(out.visible)
    }  # fmt: skip
