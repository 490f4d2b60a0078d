"""Contains the textures and meshes that training scenes are made of: packing, loading, and joining them with those that are drawn from a seed.

A pack is an .npz. Textures: `tex_webp` uint8 (WebP files one after the other), `tex_off` [n + 1] their offsets. Meshes also hold `verts` [V, 3] and
`uvs` [V, 2] float16, `faces` [F, 3] and `face_mat` [F] uint16 (local to the mesh), `mats` [M, 4] int16 (texture or -1, r, g, b), and the ranges
`mesh_v`, `mesh_f`, `mesh_m` [meshes, 2].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recon.errors import ReconError
from recon.models.training.dice import Dice
from recon.models.training.drawn_textures import SIDE, leaf_textures, noise_textures, pattern_textures, plain_textures
from recon.models.training.fine_structures import FineMeshes
from recon.models.training.objects import MeshBounds
from recon.models.training.procedural_meshes import LEAF_TEXTURES, Role, procedural_pack

LEVELS, PATTERN_TEXTURES, PLAIN_TEXTURES, OF_EACH_MAKER = 6, 64, 32, 12
# in the order of the kernels' mesh arguments (MESH_ARGUMENTS in cuda/scene.cu)
MESH_KEYS = {"verts": np.float32, "uvs": np.float32, "faces": np.uint16, "face_mat": np.uint16, "mats": np.int16,
             "mesh_v": np.int32, "mesh_f": np.int32, "mesh_m": np.int32}  # fmt: skip
LEAST_FACES, MOST_FACES = 12, 6000


@dataclass(frozen=True, kw_only=True)
class Assets:
    """What the kernels read: textures with their mip levels one after the other, scene textures first, and the meshes."""

    textures: Tensor  # [n, texels, 3] uint8; plain ones last
    scene_textures: int  # how many of them are free for primitives; a mesh's texture k is number scene_textures + k
    meshes: dict[str, Tensor]  # by the pack's keys
    patterns: Tensor  # [PATTERN_TEXTURES] numbers of the textures that repeat
    plain: Tensor  # [PLAIN_TEXTURES] numbers of the textures of one colour
    bounds: MeshBounds  # of the pack's meshes
    fine: FineMeshes  # the procedural ones
    most_faces: int


def mip_levels(textures: Tensor) -> Tensor:  # [n, 256, 256, 3] uint8 -> [n, texels, 3] uint8
    """The texture and its five halvings (box filter), flattened."""
    levels, x = [textures.flatten(1, 2)], textures.permute(0, 3, 1, 2).float()
    for _ in range(LEVELS - 1):
        x = F.avg_pool2d(x, 2)
        levels.append(x.round().byte().permute(0, 2, 3, 1).flatten(1, 2))
    return torch.cat(levels, 1)


def decode(buffer: np.ndarray) -> np.ndarray:  # [256, 256, 3] uint8 RGB
    """One encoded picture at the textures' size."""
    import cv2

    image = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    if image is None:
        raise ReconError("a texture of the pack cannot be decoded")
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., ::-1]


def pack_textures(folder: Path, target: Path, quality: int = 85) -> int:
    """Writes the pack of a folder's pictures at 256 px and returns their number; ReconError when there is none."""
    import cv2

    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".webp", ".png", ".jpg", ".jpeg"))
    if not files:
        raise ReconError(f"{folder} holds no pictures (webp, png, jpg)")
    parts = []
    for file in files:
        image = decode(np.fromfile(file, np.uint8))
        parts.append(cv2.imencode(".webp", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality])[1].reshape(-1))
    np.savez(target, tex_webp=np.concatenate(parts), tex_off=np.cumsum([0, *(len(p) for p in parts)]))
    return len(files)


def read_textures(pack: np.lib.npyio.NpzFile) -> Tensor:  # [n, 256, 256, 3] uint8
    """The pictures of a pack, decoded on all cores."""
    from concurrent.futures import ThreadPoolExecutor

    data, offsets = pack["tex_webp"], pack["tex_off"]  # read once: an .npz decompresses a member at every access
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda k: decode(data[offsets[k] : offsets[k + 1]]), range(len(offsets) - 1)))
    return torch.from_numpy(np.stack(images))


def crossed_boards() -> dict[str, np.ndarray]:
    """The smallest mesh pack: one mesh of three crossed boards, each face both ways round."""
    boards = []
    for axis in range(3):
        a, b = np.eye(3)[(axis + 1) % 3] * 0.5, np.eye(3)[(axis + 2) % 3] * 0.5
        boards += [-a - b, a - b, a + b, b - a]
    faces = [[4 * k + i for i in t] for k in range(3) for t in ((0, 1, 2), (0, 2, 3), (2, 1, 0), (3, 2, 0))]
    uvs = np.tile([[0, 0], [1, 0], [1, 1], [0, 1]], (3, 1))
    return {"verts": np.array(boards), "uvs": uvs, "faces": np.array(faces), "face_mat": np.zeros(12), "mats": np.array([[-1, 200, 150, 90]]),
            "mesh_v": np.array([[0, 12]]), "mesh_f": np.array([[0, 12]]), "mesh_m": np.array([[0, 1]])}  # fmt: skip


def join(first: dict[str, np.ndarray], second: dict[str, np.ndarray], textures: int) -> dict[str, np.ndarray]:
    """Two packs' meshes as one pack; `textures`: how many the first has."""
    moved = dict(second)
    moved["mats"] = np.array(second["mats"], np.int16)
    moved["mats"][moved["mats"][:, 0] >= 0, 0] += textures
    for key, rows in (("mesh_v", "verts"), ("mesh_f", "faces"), ("mesh_m", "mats")):
        moved[key] = second[key] + len(first[rows])
    return {key: np.concatenate([first[key], moved[key]]) for key in MESH_KEYS}


def load_assets(device: str | torch.device, textures: Path | None = None, meshes: Path | None = None, *, noise: int = 64, seed: int = 0) -> Assets:
    """The packs on a device, joined by plants and thin things from the seed; noise textures and crossed boards stand in for a pack that is not given.

    Raises ReconError for a pack without its keys.
    """
    dice = Dice(seed, device)
    pictures = noise_textures(dice, noise) if textures is None else read_textures(open_pack(textures, ("tex_webp", "tex_off"))).to(device)
    raw: dict[str, np.ndarray] = crossed_boards()
    every = [pictures]
    if meshes is not None:
        pack = open_pack(meshes, (*MESH_KEYS, "tex_webp", "tex_off"))
        raw = {key: pack[key] for key in MESH_KEYS}
        every.append(read_textures(pack).to(device))
    solid = len(raw["mesh_f"])
    fine, roles = procedural_pack(seed, OF_EACH_MAKER)
    raw = join(raw, fine, sum(len(p) for p in every[1:]))
    every += [leaf_textures(dice, LEAF_TEXTURES), pattern_textures(dice, PATTERN_TEXTURES), plain_textures(dice, PLAIN_TEXTURES)]
    tables = {key: torch.from_numpy(np.ascontiguousarray(raw[key].astype(kind))).to(device) for key, kind in MESH_KEYS.items()}
    faces = raw["mesh_f"][:, 1].astype(int) - raw["mesh_f"][:, 0]
    usable = np.flatnonzero((faces[:solid] >= LEAST_FACES) & (faces[:solid] <= MOST_FACES))
    vertices = raw["verts"].astype(np.float32)
    lowest = np.array([vertices[a:b, 1].min() for a, b in raw["mesh_v"]], np.float32)
    half = np.array([np.abs(vertices[a:b]).max(0) for a, b in raw["mesh_v"]], np.float32)
    here = lambda x: torch.from_numpy(x).to(device)
    packed = torch.cat([mip_levels(p) for p in every]).contiguous()
    drawn = torch.arange(len(packed) - PATTERN_TEXTURES - PLAIN_TEXTURES, len(packed), device=device)
    return Assets(
        textures=packed, scene_textures=len(pictures), meshes=tables, patterns=drawn[:PATTERN_TEXTURES], plain=drawn[PATTERN_TEXTURES:],
        bounds=MeshBounds(usable=here(usable), lowest=here(lowest)),
        fine=FineMeshes(of_role=[here(solid + np.flatnonzero(roles == role)) for role in Role], half=here(half)),
        most_faces=int(max(faces[usable].max(), faces[solid:].max())),
    )  # fmt: skip


def open_pack(path: Path, keys: tuple[str, ...]) -> np.lib.npyio.NpzFile:
    """An .npz that holds the keys; ReconError otherwise."""
    try:
        pack = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ReconError(f"{path} cannot be read as a pack: {error}") from error
    missing = [k for k in keys if k not in pack.files]
    if missing:
        raise ReconError(f"{path} is no pack of training assets: missing {', '.join(missing)}")
    return pack
