"""Textures in glTF: an embedded PNG as the base colour of an unlit material, and the base colours of other programs' materials."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recon.errors import reason, shown
from recon.io.files import fault, inside
from recon.io.gltf import Builder, Document
from recon.io.textures import Pictures

LINEAR, LINEAR_MIPMAP_LINEAR, REPEAT = 9729, 9987, 10497
TRANSFORM, WEBP = "KHR_texture_transform", "EXT_texture_webp"
log = logging.getLogger(__name__)


def add_texture(builder: Builder, png: bytes) -> None:
    """Makes a picture the base colour of the document's only material."""
    document = builder.json
    document["images"] = [{"bufferView": builder.add_bytes(png), "mimeType": "image/png"}]
    document["samplers"] = [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": REPEAT, "wrapT": REPEAT}]
    document["textures"] = [{"source": 0, "sampler": 0}]
    document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}


def read_texture(
    document: Document, primitive: dict[str, Any], values: Callable[[str, int], Tensor | None], pictures: Pictures
) -> dict[str, Tensor]:  # uvs [P, 2], texture [h, w, 3]
    """The `uvs` and the `texture` of a primitive, its base colour's factor multiplied in; empty where it has none.

    A texture that this library cannot show (KTX2, turned, without TEXCOORD) is left out with a warning; a broken one raises FileError.
    """
    if "material" not in primitive:
        return {}
    surface = _table(document, document.entry("materials", primitive["material"]), "pbrMetallicRoughness")
    info = _table(document, surface, "baseColorTexture")
    if not info:
        return {}
    moved = _table(document, _table(document, info, "extensions"), TRANSFORM)
    uvs = values(f"TEXCOORD_{document.number(moved if 'texCoord' in moved else info, 'texCoord', 0)}", 2)
    texture = document.entry("textures", info.get("index"))
    source = _table(document, _table(document, texture, "extensions"), WEBP).get("source", texture.get("source"))
    why = "has no picture that is read" if source is None else "has no TEXCOORD" if uvs is None else "is turned" if moved.get("rotation") else None
    if why or uvs is None:
        log.warning("%s: the texture %r %s, and is left out", document.path, info.get("index"), why)
        return {}
    factor = _numbers(document, surface, "baseColorFactor", [1.0] * 4)
    picture = pictures.get(f"images[{source}]", lambda: _bytes(document, source), tint=tuple(factor[:3]))
    scale, offset = _numbers(document, moved, "scale", [1.0, 1.0]), _numbers(document, moved, "offset", [0.0, 0.0])
    return {} if picture is None else {"uvs": uvs * torch.tensor(scale) + torch.tensor(offset), "texture": picture}


def base_color(document: Document, primitive: dict[str, Any]) -> Tensor | None:  # [3] linear
    """The base colour's factor of a primitive's material where no texture has it; None where there is none or it is white."""
    if "material" not in primitive:
        return None
    surface = _table(document, document.entry("materials", primitive["material"]), "pbrMetallicRoughness")
    factor = _numbers(document, surface, "baseColorFactor", [1.0] * 4)[:3]
    return None if "baseColorTexture" in surface or factor == [1.0, 1.0, 1.0] else torch.tensor(factor).clamp(0, 1)


def _bytes(document: Document, index: object) -> bytes:
    """The file of an image: a bufferView, base64 or a file beside."""
    image = document.entry("images", index)
    if "bufferView" in image:
        content, start, length, _ = document.view(image["bufferView"])
        return content[start : start + length]
    uri = image.get("uri")
    if not isinstance(uri, str) or not uri.startswith("data:"):
        return inside(document.path, document.path.parent, uri).read_bytes()
    try:
        return base64.b64decode(uri.partition(",")[2], validate=True)
    except ValueError as error:
        raise fault(document.path, f"has an image that is not base64: {reason(error)}") from error


def _table(document: Document, owner: dict[str, Any], key: str) -> dict[str, Any]:
    value = owner.get(key, {})
    if not isinstance(value, dict):
        raise fault(document.path, f"has {key} = {shown(str(value)[:80])}, wanted an object")
    return value


def _numbers(document: Document, owner: dict[str, Any], key: str, default: list[float]) -> list[float]:
    value = owner.get(key, default)
    numbers = isinstance(value, list) and len(value) == len(default) and all(isinstance(v, int | float) and abs(v) < 1e9 for v in value)
    if not numbers:
        raise fault(document.path, f"has {key} = {shown(str(value)[:80])}, wanted {len(default)} numbers")
    return [float(v) for v in value]
