"""Contains how the published DUSt3R and MASt3R checkpoints name and size things, and the reference's form of inputs and outputs for parity."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recon.models.checkpoints import KeyTable, Shapes
from recon.models.dust3r.network import PATCH, Dust3r, Dust3rParams, HeadKind, ViewOutput
from recon.models.layers.dpt import DptParams

_HEAD = r"downstream_head(\d)\."
_REDUCED = (1, 2, 3, 4)
KEYS = KeyTable(
    renames=(
        (r"patch_embed\.proj\.", "patch_embed."),
        (r"enc_blocks\.", "encoder."),
        (r"enc_norm\.", "encoder_norm."),
        (r"decoder_embed\.", "decoder_in."),
        (r"dec_blocks\.", "decoder1."),
        (r"dec_blocks2\.", "decoder2."),
        (r"dec_norm\.", "decoder_norm."),
        (_HEAD, r"head\1."),
        (r"(head\d)\.head_local_features\.", r"\1.local."),
        (r"(head\d\.dpt)\.act_postprocess\.", r"\1.lift."),
        *((rf"(head\d\.dpt)\.scratch\.layer{n}_rn\.", rf"\1.level.{n - 1}.") for n in _REDUCED),
        *((rf"(head\d\.dpt)\.scratch\.refinenet{n}\.", rf"\1.fusion.{n - 1}.") for n in _REDUCED),
        (r"(head\d\.dpt\.fusion\.\d)\.out_conv\.", r"\1.out."),
        (r"(head\d\.dpt\.fusion\.\d)\.resConfUnit1\.", r"\1.skip."),
        (r"(head\d\.dpt\.fusion\.\d)\.resConfUnit2\.", r"\1.unit."),
    ),
    aliases=tuple((rf"(downstream_head\d\.dpt\.scratch)\.layer_rn\.{n - 1}\.", rf"\1.layer{n}_rn.") for n in _REDUCED),
)  # fmt: skip


def recognise(shapes: Shapes, about: str) -> tuple[str, ...]:
    """The models that these entries can be of; the two linear ones differ only in what a file says of itself."""
    if "enc_blocks.0.attn.qkv.weight" not in shapes or "dec_blocks2.0.cross_attn.projq.weight" not in shapes:
        return ()
    head = _head_of(shapes)
    if head == "linear":
        said = re.search(r"img_size['\"]?\s*[=:]\s*[\(\[]\s*(224|512)|_(224|512)_", about)
        return (f"dust3r-{said[1] or said[2]}-linear",) if said else ("dust3r-512-linear", "dust3r-224-linear")
    return () if head is None else ("mast3r-metric",) if head == "catmlp+dpt" else ("dust3r-512-dpt",)


def _head_of(shapes: Shapes) -> HeadKind | None:
    if "downstream_head1.proj.weight" in shapes:
        return "linear"
    if "downstream_head1.dpt.head.4.weight" not in shapes:
        return None
    return "catmlp+dpt" if "downstream_head1.head_local_features.fc1.weight" in shapes else "dpt"


def sizes(shapes: Shapes, base: Dust3rParams) -> Dust3rParams:
    """The sizes of a file of the family; attention heads have 64 channels, as in all published ones, and `base` says the rest."""
    count = lambda stem: 1 + max(int(m[1]) for m in (re.match(rf"{stem}\.(\d+)\.", key) for key in shapes) if m)
    encoder_width, decoder_width = shapes["patch_embed.proj.weight"][0], shapes["decoder_embed.weight"][0]
    more: dict[str, Any] = {}
    if (head := _head_of(shapes) or base.head) != "linear":
        dpt = "downstream_head1.dpt."
        features, last_dim = shapes[f"{dpt}scratch.layer1_rn.weight"][0], shapes[f"{dpt}head.2.weight"][0]
        dims = tuple(shapes[f"{dpt}act_postprocess.{i}.0.weight"][0] for i in range(4))
        more["dpt"] = DptParams(dims, features, last_dim)  # type: ignore[arg-type]
    if head == "catmlp+dpt":
        local = "downstream_head1.head_local_features."
        more |= {"local_hidden": shapes[f"{local}fc1.weight"][0], "descriptors": shapes[f"{local}fc2.weight"][0] // PATCH**2 - 1}
    return replace(
        base, head=head, encoder_width=encoder_width, encoder_depth=count("enc_blocks"), encoder_heads=max(1, encoder_width // 64),
        decoder_width=decoder_width, decoder_depth=count("dec_blocks"), decoder_heads=max(1, decoder_width // 64), **more,
    )  # fmt: skip


def configured(params: Dust3rParams, config: dict[str, Any]) -> Dust3rParams:
    """The sizes read from shapes with what only the reference's configuration says: the numbers of heads."""
    return replace(params, encoder_heads=config["enc_num_heads"], decoder_heads=config["dec_num_heads"], long_side=max(config["img_size"]))


def run(net: Dust3r, inputs: dict[str, Any]) -> dict[str, Any]:
    """The reference's outputs from its inputs."""
    images = [inputs["img1"], inputs["img2"]]
    out1, out2 = net(*images)
    grid = images[0].shape[2] // PATCH, images[0].shape[3] // PATCH
    tokens1, tokens2 = (net.encode(x) for x in images)
    taps1, taps2 = net.decode(tokens1, tokens2, grid, grid)
    positions = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))[None].expand(len(images[0]), -1, -1)
    inter = {"enc_feat1": tokens1, "enc_feat2": tokens2, "pos1": positions, "dec1": taps1, "dec2": taps2}
    return {"res1": _named(out1, "pts3d"), "res2": _named(out2, "pts3d_in_other_view"), "inter": inter}


def _named(out: ViewOutput, points: str) -> dict[str, Tensor | None]:
    return {points: out.points, "conf": out.confidence, "desc": out.descriptors, "desc_conf": out.descriptor_confidence}
