"""The table of formats: names, what of a scene each holds, the axes of its world and the module that does the work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from recon.errors import ReconError, shown
from recon.io.files import fault
from recon.io.options import Axes, Kind


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format. `writers`: kind -> module of recon.io with `write`, the kind that is taken first comes first."""

    name: str  # also the end of a file's name, after a dot, an underscore or nothing
    file: str  # what `recon run` calls it
    description: str
    writers: dict[Kind, str]
    reader: str | None  # module of recon.io with `read`
    axes: Axes = "opencv"
    sh_degree: int = 3
    folder: bool = False


def _format(
    name: str, file: str, description: str, writers: dict[Kind, str], reader: str | None, *,
    axes: Axes = "opencv", sh_degree: int = 3, folder: bool = False,
) -> Format:  # fmt: skip
    return Format(
        name=name, file=file, description=description, writers=writers, reader=reader, axes=axes, sh_degree=sh_degree, folder=folder
    )


USD: dict[Kind, str] = {"mesh": "usd", "splats": "usd", "points": "usd"}
TABLE = (  # longer names first: the first that fits a file's name decides
    _format("compressed.ply", "scene.compressed.ply", "Gaussians of PlayCanvas and SuperSplat, 4 times smaller than ply",
            {"splats": "compressed_ply"}, "any_ply"),
    _format("splat", "scene.splat", "Gaussians in 32 bytes each, without harmonics", {"splats": "splat"}, "splat", sh_degree=0),
    _format("spz", "scene.spz", "Niantic's Gaussians, about 10 times smaller than ply", {"splats": "spz"}, "spz", axes="y-up"),
    _format("sog", "scene.sog", "PlayCanvas' Gaussians as pictures, 15 to 20 times smaller than ply", {"splats": "sog"}, "sog"),
    _format("meta.json", "sog/meta.json", "the same as loose pictures in the folder of meta.json", {"splats": "sog"}, "sog"),
    _format("ksplat", "scene.ksplat", "Gaussians of mkkellogg's viewer", {}, "ksplat"),
    _format("points.ply", "scene.points.ply", "points with colours, normals and confidence", {"points": "point_ply"}, "any_ply"),
    _format("mesh.ply", "scene.mesh.ply", "triangles with colours", {"mesh": "point_ply"}, "any_ply"),
    _format("ply", "scene.ply", "3D Gaussians (INRIA's layout); a mesh or points where there are none",
            {"splats": "splat_ply", "mesh": "point_ply", "points": "point_ply"}, "any_ply"),
    _format("points.glb", "scene.points.glb", "glTF points", {"points": "glb"}, "glb", axes="y-up"),
    _format("splats.glb", "scene.splats.glb", "glTF with KHR_gaussian_splatting, coloured points elsewhere", {"splats": "glb"}, "glb", axes="y-up"),
    _format("glb", "scene.glb", "glTF mesh; points or Gaussians where there is none",
            {"mesh": "glb", "points": "glb", "splats": "glb"}, "glb", axes="y-up"),
    _format("gltf", "scene.gltf", "as glb, in text with its data inside", {"mesh": "glb", "points": "glb", "splats": "glb"}, "glb", axes="y-up"),
    _format("obj", "scene.obj", "Wavefront mesh or points with colours; a texture is beside it with its .mtl",
            {"mesh": "obj", "points": "obj"}, "obj", axes="y-up"),
    _format("usda", "scene.usda", "USD stage in text: mesh, Gaussians (ParticleField3DGaussianSplat) or points", USD, None, axes="y-up"),
    _format("usdc", "scene.usdc", "USD stage, binary", USD, None, axes="y-up"),
    _format("usdz", "scene.usdz", "USD stage for Apple's Quick Look and others", USD, None, axes="y-up"),
    _format("transforms.json", "nerfstudio/transforms.json", "nerfstudio's cameras, photos and points", {"scene": "transforms_json"},
            "transforms_json", axes="z-up"),
    _format("camera_path.json", "camera_path.json", "the cameras of a video, as nerfstudio's viewer saves them", {}, "camera_path", axes="z-up"),
    _format("cameras.json", "cameras.json", "cameras as INRIA's viewers and SuperSplat read them", {"scene": "cameras_json"}, "cameras_json"),
    _format("depth_png", "depth_png", "folder of 16-bit depth maps and confidences with cameras", {"scene": "depth"}, "depth", folder=True),
    _format("depth_exr", "depth_exr", "the same as float EXR", {"scene": "depth"}, "depth", folder=True),
    _format("depth_npy", "depth_npy", "the same as float32 npy", {"scene": "depth"}, "depth", folder=True),
    _format("colmap_binary", "colmap_binary", "COLMAP's binary folder", {"scene": "colmap"}, "colmap", folder=True),
    _format("colmap", "colmap", "COLMAP's text folder: cameras, tracks and images", {"scene": "colmap"}, "colmap", folder=True),
    _format("npz", "scene.npz", "the whole scene, lossless", {"scene": "npz"}, "npz"),
)  # fmt: skip
BY_NAME = {f.name: f for f in TABLE}


def find(path: Path) -> Format:
    """The format that a file's name says. Raises FileError for a name that says none."""
    name = path.name.lower()
    for entry in TABLE:
        if re.search(rf"(^|[._-]){re.escape(entry.name)}$", name):
            return entry
    raise fault(path, f"has a name of no known format; it should end in one of: {', '.join(BY_NAME)}")


def named(name: str) -> Format:
    """The format called `name`. Raises ReconError."""
    if name not in BY_NAME:
        raise ReconError(f"unknown format {shown(name)}; one of: {', '.join(BY_NAME)}")
    return BY_NAME[name]


def formats() -> dict[str, str]:
    """The names of all formats that can be written, with what each holds."""
    return {f.name: f.description for f in TABLE if f.writers}


def file_name(name: str) -> str:
    """The file or folder that `recon run` writes for the format `name`. Raises ReconError for an unknown one."""
    return named(name).file
