"""Results to take home, by purpose: what each holds and where it opens, and the file itself, made when it is asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app.keeping import MAKING, kept, kept_mesh
from recon.app.limits import Refused, nameless
from recon.app.meshing import can_mesh, make_mesh

if TYPE_CHECKING:
    from recon.scene import Scene

FOLDER, NOTES = "files", ".notes"
FRAMES, WIDTH, HEIGHT = 120, 960, 720  # of a video
STORED = (".jpg", ".jpeg", ".png", ".webp", ".spz", ".sog", ".heic")  # what a zip cannot make smaller
Tell = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One line of the list. `program`: of recon.io.presets; `format`: of recon.io.table; `path`: of a video's cameras; `page`: the viewer itself."""

    title: str
    opens_in: str
    needs: str = "gaussians"  # part of a Scene
    program: str = ""
    format: str = ""
    path: str = ""
    page: bool = False
    mesh: bool = False  # of the mesh, which is made for it
    a_splat: float = 0.0  # bytes, measured on the example: for the size that is told before the file is made
    a_point: float = 0.0
    a_pixel: float = 0.0  # of all views' grids
    a_base: float = 0.0
    at_most: float = float("inf")
    photos: bool = False  # holds the photos as well


OFFERS = {
    "blender": Offer(title="Blender", opens_in="Blender: import glTF and PLY; Gaussians with an add-on", program="blender", a_splat=55, a_point=15),
    "unity": Offer(title="Unity", opens_in="Unity with a package for Gaussian splatting", program="unity", a_splat=61, a_point=15),
    "unreal": Offer(title="Unreal Engine", opens_in="Unreal with a plug-in for Gaussian splatting", program="unreal", a_splat=58, a_point=15),
    "supersplat": Offer(title="SuperSplat", opens_in="superspl.at/editor and PlayCanvas: drop the files onto the page", program="supersplat",
                        a_splat=16),
    "threejs": Offer(title="three.js", opens_in="GLTFLoader and spz loaders such as Spark", program="threejs", a_splat=7, a_point=28),
    "colmap": Offer(title="COLMAP", opens_in="COLMAP and programs that train on its folders", needs="cameras", program="colmap", photos=True),
    "nerfstudio": Offer(title="nerfstudio", opens_in="ns-train splatfacto --data FOLDER", needs="cameras", program="nerfstudio",
                        a_point=14, photos=True),
    "glb": Offer(title="Points for any 3D viewer (GLB)", opens_in="3D viewers of Windows, macOS and phones, PowerPoint", format="glb", a_point=28),
    "mesh": Offer(title="Mesh with texture (GLB)", opens_in="Blender, Unity, Unreal, PowerPoint, 3D viewers; takes a while", needs="depth",
                  format="glb", mesh=True, a_pixel=5, a_base=4e6, at_most=12e6),
    "usdz": Offer(title="Mesh for iPhone and iPad (USDZ)", opens_in="Quick Look, in your own room; takes a while", needs="depth",
                  format="usdz", mesh=True, a_pixel=5, a_base=4e6, at_most=12e6),
    "ply": Offer(title="Gaussians (PLY)", opens_in="every viewer of Gaussian splats", format="ply", a_splat=68),
    "points": Offer(title="Points (PLY)", opens_in="MeshLab, CloudCompare", needs="pointmaps", format="points.ply", a_point=19),
    "depth": Offer(title="Depth maps (16-bit PNG)", opens_in="image programs; the unit is in depth.json", needs="depth", format="depth_png",
                   a_pixel=2.6),
    "page": Offer(title="A page to share", opens_in="any browser, offline: unzip, open index.html", page=True, a_splat=14, a_pixel=5,
                  a_base=2.6e6),
    "orbit": Offer(title="Video, once around", opens_in="any video player; takes a while", path="orbit", a_splat=12),
    "wobble": Offer(title="Video, a small circle at the first photo", opens_in="any video player; takes a while", path="wobble", a_splat=12),
    "scene": Offer(title="Everything (npz)", opens_in="recon.load, recon render, recon convert", needs="cameras", format="npz",
                   a_splat=56, a_pixel=46),
}  # fmt: skip


def offers(scene: Scene) -> list[dict[str, Any]]:
    """What there is for this scene, with about how many bytes each takes."""
    from recon.io.content import points_of

    splats = len(scene.gaussians) if scene.gaussians is not None else 0
    cloud = points_of(scene)
    points, pixels = 0 if cloud is None else len(cloud.points), len(scene) * scene.cameras.width * scene.cameras.height
    photos = sum(os.path.getsize(f.path) for f in scene.images.files if not f.member and os.path.isfile(f.path)) if scene.images is not None else 0
    meshes = can_mesh(scene)
    about = lambda o: o.a_splat * splats + o.a_point * points + o.a_pixel * pixels + o.a_base + o.photos * photos
    return [
        {
            "key": key, "title": offer.title, "opens_in": offer.opens_in,
            "about_bytes": round(min(about(offer), offer.at_most)),
        }
        for key, offer in OFFERS.items() if getattr(scene, offer.needs) is not None and (meshes or not offer.mesh)
    ]  # fmt: skip


def made(folder: Path, key: str, scale: float | None) -> Path | None:
    """The file, where it has been made already at this scale."""
    target = _target(folder, key, scale)
    return next((path for path in target.parent.glob(f"{target.name}.*") if path.suffix != NOTES), None)


def notes_of(path: Path) -> str:
    """What a person should know of a file that was made, a line each; mostly nothing."""
    notes = path.with_suffix(NOTES)
    return notes.read_text(encoding="utf-8") if notes.is_file() else ""


def _target(folder: Path, key: str, scale: float | None) -> Path:
    return folder / FOLDER / ("units" if scale is None else f"metres-{scale:.9g}") / f"recon-{key}"


def make(folder: Path, key: str, scale: float | None, *, tell: Tell) -> Path:
    """Makes one offer of the result kept in `folder`, whole or not at all: a file, or a zip where it is several. Raises ReconError."""
    from recon.commands.output import told_warnings

    if key not in OFFERS:
        raise Refused(f"unknown download {key!r}; one of: {', '.join(OFFERS)}")
    offer, target = OFFERS[key], _target(folder, key, scale)
    if offer.mesh:
        make_mesh(folder, tell=lambda text, share: tell(text, 0.3 * share))
    tell("reading the scene", 0.3 if offer.mesh else 0.0)
    scene = kept_mesh(folder, scale) if offer.mesh else kept(folder, scale)
    if not offer.mesh and getattr(scene, offer.needs) is None:
        raise Refused(f"this result has no {offer.needs}, which {offer.title} needs")
    target.parent.mkdir(parents=True, exist_ok=True)
    with told_warnings() as notes, tempfile.TemporaryDirectory(dir=folder, prefix=MAKING) as place:
        files = _written(scene, offer, folder, scale, Path(place), tell)
        whole = _zipped(files, Path(place)) if len(files) > 1 or files[0].parent != Path(place) else files[0]
        final = target.with_name(target.name + whole.suffix)
        final.with_suffix(NOTES).write_text("\n".join(map(nameless, notes)), encoding="utf-8")
        os.replace(whole, final)
    tell("done", 1.0)
    return final


def _written(scene: Scene, offer: Offer, folder: Path, scale: float | None, place: Path, tell: Tell) -> list[Path]:
    import recon
    from recon import io

    tell("writing", 0.3)
    if offer.program:
        io.save_for(scene, place, offer.program)
    elif offer.page:
        from recon.app.meshing import with_view_mesh
        from recon.app.offline import write_offline

        write_offline(with_view_mesh(scene, folder, scale), place / "recon", title="recon")
    elif offer.path:
        return [_video(scene, offer.path, place / "video.mp4", tell)]
    else:
        recon.save(scene, place / io.file_name(offer.format))
    return sorted(p for p in place.rglob("*") if p.is_file() and p.name != ".recon")


def _video(scene: Scene, path: str, target: Path, tell: Tell) -> Path:
    from recon.render import Renderer, camera_paths, video

    assert scene.gaussians is not None
    if path == "orbit":
        cameras = camera_paths.orbit(camera_paths.surroundings(scene), width=WIDTH, height=HEIGHT, frames=FRAMES)
    else:
        cameras = camera_paths.wobble(scene, width=WIDTH, height=HEIGHT, frames=FRAMES)
    pictures = Renderer(scene.gaussians, width=WIDTH, height=HEIGHT).pictures(cameras, progress=lambda share: tell("drawing the video", share))
    return video.write(pictures, target)[0]


def _zipped(files: list[Path], place: Path) -> Path:
    """The files in one archive, written beside their folder and then taken into it."""
    handle, name = tempfile.mkstemp(suffix=".zip", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for file in files:
                how = zipfile.ZIP_STORED if file.suffix.lower() in STORED else zipfile.ZIP_DEFLATED
                archive.write(file, file.relative_to(place), compress_type=how, compresslevel=1)
        return Path(shutil.move(name, place / "recon.zip"))
    finally:
        Path(name).unlink(missing_ok=True)
