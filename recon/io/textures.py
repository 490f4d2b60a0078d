"""Textures of meshes: pictures to bytes and back, colours of vertices out of them, and meshes joined into one."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.errors import FileError
from recon.io.files import fault
from recon.scene import Mesh

MAX_PIXELS = 8192 * 8192
# A flat PNG has up to 344 pixels a byte, and textures are floats in memory. Any texture up to 4096 x 4096 is read, larger ones where the file
# is no smaller than photographs are, so that a small file cannot take more than 200 MB.
FREE_PIXELS, DENSEST = 4096 * 4096, 64
log = logging.getLogger(__name__)


class BrokenTexture(FileError):
    """A picture that cannot be decoded: what it belongs to is read without it."""


def encode_texture(path: Path, texture: Tensor) -> bytes:  # [h, w, 3]
    """A PNG of 8 bits. Raises FileError, in the name of the file `path` that it is for, where it has more than MAX_PIXELS."""
    from PIL import Image

    height, width = texture.shape[:2]
    if height * width > MAX_PIXELS:
        raise fault(path, f"would hold a texture of {width} x {height} pixels, wanted at most {MAX_PIXELS} pixels")
    stream = io.BytesIO()
    picture = Image.fromarray((texture.detach().float().clamp(0, 1) * 255).round().byte().numpy())
    picture.save(stream, "PNG", compress_level=1)  # a third of the usual level's time, a tenth larger
    return stream.getvalue()


def decode_texture(path: Path, name: str, content: bytes) -> Tensor:  # [h, w, 3]
    """The texture of a PNG, JPEG or WebP without its alpha; `path` and `name` are for messages.

    Raises FileError for anything else, for broken pictures and for sizes that the bytes do not justify.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG", "WEBP"]) as image:
            pixels = image.width * image.height
            if pixels > min(MAX_PIXELS, max(FREE_PIXELS, DENSEST * len(content))):
                raise fault(path, f"has the texture {name} of {image.width} x {image.height} pixels in {len(content)} bytes, which is too large")
            if image.mode.startswith("I"):  # 16 bits of grey, which convert would cut off
                return torch.from_numpy(np.asarray(image).astype(np.float32) / 65535).clamp(0, 1)[..., None].expand(-1, -1, 3)
            return torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32)) / 255
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "" if isinstance(error, UnidentifiedImageError) or "<_io" in str(error) else f": {error or type(error).__name__}"
        raise BrokenTexture(f"{path}: has a broken texture {name} of {len(content)} bytes{why}") from error


class Pictures:
    """The textures of one file, each decoded once; those that would make more than MAX_PIXELS in all are left out with a warning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[Hashable, Tensor | None] = {}
        self.pixels = 0

    def get(self, name: str, load: Callable[[], bytes], *, tint: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Tensor | None:  # [h, w, 3]
        """The texture called `name`, its linear values times `tint`; equal calls give the same tensor. Raises FileError."""
        if (name, tint) not in self.known:
            try:
                texture = decode_texture(self.path, name, load()) if self.pixels < MAX_PIXELS else None
            except BrokenTexture as error:
                log.warning("%s, and is left out", error)
                self.known[name, tint] = None
                return None
            if texture is None or self.pixels + texture.shape[0] * texture.shape[1] > MAX_PIXELS:
                log.warning("%s: its textures have more than %d pixels in all, %s is left out", self.path, MAX_PIXELS, name)
                self.pixels, texture = MAX_PIXELS, None
            elif tint != (1.0, 1.0, 1.0):
                from recon.io.gltf import to_linear, to_srgb

                texture = torch.from_numpy(to_srgb(to_linear(texture.numpy()) * np.array(tint, np.float32))).clamp(0, 1)
            self.pixels += 0 if texture is None else texture.shape[0] * texture.shape[1]
            self.known[name, tint] = texture
        return self.known[name, tint]


def sample_texture(texture: Tensor, uvs: Tensor) -> Tensor:  # [h, w, 3], [P, 2] -> [P, 3]
    """Colours at places in a texture: between the four nearest pixels, repeated beyond the edges as files say."""
    height, width = texture.shape[:2]
    x, y = (uvs.double() * torch.tensor([width, height], dtype=torch.float64, device=uvs.device) - 0.5).unbind(1)
    left, top = x.floor(), y.floor()
    a, b = (x - left)[:, None].to(texture), (y - top)[:, None].to(texture)
    i, j = left.long() % width, top.long() % height
    i_next, j_next = (i + 1) % width, (j + 1) % height
    upper = texture[j, i] * (1 - a) + texture[j, i_next] * a
    lower = texture[j_next, i] * (1 - a) + texture[j_next, i_next] * a
    return upper * (1 - b) + lower * b


def vertex_colors(mesh: Mesh) -> Tensor | None:  # [P, 3]
    """The mesh's own colours, else those of its texture at the vertices; None where it has neither."""
    if mesh.colors is not None or mesh.texture is None or mesh.uvs is None:
        return mesh.colors
    return sample_texture(mesh.texture, mesh.uvs)


def join_meshes(path: Path, meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several. Where not all have the same texture, it has the textures' colours at its vertices, and a warning says so."""
    if len(meshes) == 1:
        return meshes[0]
    starts = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    faces = torch.cat([m.faces + int(start) for m, start in zip(meshes, starts, strict=False)])
    columns = {name: [getattr(m, name) for m in meshes] for name in ("colors", "normals", "uvs")}
    texture = meshes[0].texture
    if any(m.texture is not texture for m in meshes):
        log.warning("%s: its parts have different textures, and a mesh holds one: the vertices get their colours instead", path)
        columns["colors"] = [m.colors if m.texture is None else sample_texture(m.texture, m.uvs) for m in meshes]  # type: ignore[arg-type]
        columns["uvs"], texture = [None], None
    if any(c is not None for c in columns["colors"]):  # a part without colours is white
        columns["colors"] = [torch.ones(len(m.vertices), 3) if c is None else c for c, m in zip(columns["colors"], meshes, strict=True)]
    joined = {name: None if any(c is None for c in parts) else torch.cat(parts) for name, parts in columns.items()}
    return Mesh(vertices=torch.cat([m.vertices for m in meshes]), faces=faces, texture=texture, **joined)
