"""Reads files of known cameras: any that `load` reads, and npz of plain arrays (K, cam_to_world, names, width, height)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import reason
from recon.io.content import scene_of_parts
from recon.io.files import fault
from recon.io.parts import Parts, views_of_file
from recon.io.reading import load
from recon.scene import Scene

ARRAYS = "K [3, 3] or [V, 3, 3], width and height in pixels, and as known cam_to_world [V, 4, 4] and names [V]"


def load_known(path: Path) -> Scene:
    """A scene of the file's cameras with their names in the report; NaN for poses that it does not tell, "" for a camera of all photos.

    Raises FileError.
    """
    if path.suffix.lower() == ".npz" and path.is_file():
        arrays = _arrays(path)
        if "meta" not in arrays:
            return _plain(path, arrays)
    scene = load(path)
    if not len(scene):
        raise fault(path, "holds no cameras")
    if scene.images is not None:
        scene.report["names"] = list(scene.images.names)
    return scene


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive)
            return dict.fromkeys(names, np.zeros(0)) if "meta" in names else {name: archive[name] for name in names}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise fault(path, f"is no npz file of plain arrays: {reason(error)}") from error


def _plain(path: Path, arrays: dict[str, np.ndarray]) -> Scene:
    missing = [name for name in ("K", "width", "height") if name not in arrays]
    if missing:
        raise fault(path, f"has the arrays {', '.join(arrays) or 'none'}, without {', '.join(missing)}; wanted {ARRAYS}")
    K = arrays["K"].reshape(-1, *arrays["K"].shape[-2:])
    poses = arrays.get("cam_to_world")
    views = len(K) if poses is None else len(poses)
    names = [str(name) for name in np.atleast_1d(arrays["names"])] if "names" in arrays else [""] * views
    sizes: list[Any] = [np.broadcast_to(arrays[name].reshape(-1), (views,)) for name in ("width", "height") if arrays[name].size in (1, views)]
    if K.shape[1:] != (3, 3) or len(K) not in (1, views) or len(names) != views or len(sizes) != 2 or K.dtype.kind not in "fiu":
        raise fault(path, f"has K {list(arrays['K'].shape)} with {len(names)} names and {views} cameras; wanted {ARRAYS}")
    if poses is not None and (poses.shape != (views, 4, 4) or poses.dtype.kind not in "fiu"):
        raise fault(path, f"has cam_to_world {list(poses.shape)}, wanted {[views, 4, 4]}")
    poses = np.full((views, 4, 4), np.nan) if poses is None else poses.astype(float)
    views = views_of_file(
        path, K=np.broadcast_to(K, (views, 3, 3)).astype(float), cam_to_world=poses, width=sizes[0].tolist(), height=sizes[1].tolist()
    )
    return scene_of_parts(Parts(views=views, report={"names": names}))
