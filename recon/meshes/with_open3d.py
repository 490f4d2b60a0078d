"""Contains the soft import of Open3D: what it lacks on a bare server is said in words that help."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import re
import sys
import warnings
from typing import Any

from recon.errors import ReconError

PACKAGES = {  # what its binary loads -> Debian's and Ubuntu's name of it
    "libusb-1.0.so.0": "libusb-1.0-0", "libGL.so.1": "libgl1", "libEGL.so.1": "libegl1", "libgomp.so.1": "libgomp1", "libX11.so.6": "libx11-6",
    "libudev.so.1": "libudev1",
}  # fmt: skip
LIBUSB = "libusb-1.0.so.0"  # Open3D asks for it although it is for depth cameras only


def load_open3d() -> Any:
    """The module open3d. Raises ReconError that says what to install where it is absent or its libraries are."""
    if "open3d" in sys.modules:
        return sys.modules["open3d"]
    if not has_open3d():
        name = "open3d-cpu" if sys.platform == "linux" else "open3d"
        raise ReconError(f"making meshes needs Open3D, which is not installed: pip install {name} fast-simplification manifold3d")
    _find_libusb()
    warnings.filterwarnings("ignore", "The TBB threading layer requires", module="numba")  # numba sees Open3D's TBB, finds it old and takes another
    try:
        return importlib.import_module("open3d")
    except (ImportError, OSError) as error:
        raise ReconError(f"Open3D is installed and does not load: {advice(str(error))}") from error


def has_open3d() -> bool:
    """Whether it is installed; what its libraries lack shows when it is loaded."""
    return importlib.util.find_spec("open3d") is not None


def open3d_problem() -> str | None:
    """Why Open3D cannot be used here; None where it can."""
    try:
        load_open3d()
    except ReconError as error:
        return str(error)
    return None


def advice(message: str) -> str:
    """What to install, from the loader's message."""
    found = re.search(r"(lib[\w.+-]+\.so[\w.]*)", message)
    if not found:
        return " ".join(message.split())
    library = found[1]
    package = PACKAGES.get(library)
    text = f"{library} is missing" + (f": apt-get install {package}" if package else " on this system")
    return text + (" (or without root: pip install libusb-package)" if library == LIBUSB else "")


def _find_libusb() -> None:
    """Loads libusb from the wheel libusb-package where the system has none: Open3D then finds it under its name."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(LIBUSB)
    except OSError:
        if importlib.util.find_spec("libusb_package") is not None:
            ctypes.CDLL(str(importlib.import_module("libusb_package").get_library_path()))
