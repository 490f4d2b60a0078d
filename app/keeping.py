"""How a result lies in its folder: view/ (the viewer's files), about.json, the whole scene, and which of the uploads its photos are."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recon.scene import Scene

SCENE, MESH, FILES, ABOUT, VIEW = "scene.npz", "mesh.npz", "files.json", "about.json", "view"
MAKING = ".making-"  # folders of files that are being made


def keep(scene: Scene, folder: Path) -> None:
    """The whole scene on disk, and which of the job's files its photos are."""
    import recon

    recon.save(scene, folder / SCENE)
    files = () if scene.images is None else scene.images.files
    told = [{name: value for name, value in asdict(replace(f, distorted=None)).items() if name != "distorted"} for f in files]
    here = all(f.distorted is None and Path(f.path).is_relative_to(folder) for f in files)  # frames of videos are gone by then
    (folder / FILES).write_text(json.dumps(told if here else []), encoding="utf-8")


def kept(folder: Path, scale: float | None = None) -> Scene:
    """The scene that `keep` kept, in metres where someone measured a length (`scale`: metres per unit)."""
    import recon
    from recon.scene import PhotoFile

    scene = recon.load(folder / SCENE)
    files = tuple(PhotoFile(**told) for told in json.loads((folder / FILES).read_text(encoding="utf-8")))
    if scene.images is not None and files:
        scene = replace(scene, images=replace(scene.images, files=files))
    return in_metres(scene, scale)


def kept_mesh(folder: Path, scale: float | None = None) -> Scene:
    """The mesh alone, upright, that `make_mesh` kept."""
    import recon

    return in_metres(recon.load(folder / MESH), scale)


def in_metres(scene: Scene, scale: float | None) -> Scene:
    """The scene where a unit is `scale` metres; as it is for None."""
    return scene if scale is None else scene.with_scale(scale, metric=True)
