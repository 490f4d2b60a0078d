"""What is installed here, the GPU, the default weights, and what is missing; exit code 1 when a reconstruction cannot run."""

from __future__ import annotations

import argparse
from typing import Any

import recon
from recon.commands.output import say

NEEDED = ("torch", "numpy", "scipy", "opencv-python-headless", "poselib", "pillow", "pillow-heif", "safetensors", "numba", "tqdm")
OPTIONAL = {  # package -> what it is for
    "imageio-ffmpeg": "videos", "cuda-core": "own CUDA kernels", "nvidia-cuda-nvrtc": "own CUDA kernels", "gsplat": "training renderer",
    "open3d-cpu": "meshes", "open3d": "meshes", "fast-simplification": "meshes", "manifold3d": "watertight meshes",
    "usd-core": "USD files", "zstandard": "spz version 4", "OpenEXR": "EXR depth maps",
    "gradio": "the web page", "huggingface-hub": "downloading weights",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    found, problems = examine()
    lines = [f"{name:<38}{value if value is not None else '-'}" for name, value in found.items()]
    say(args, {**found, "problems": problems}, [*lines, *problems, *([] if problems else ["all well"])])
    return 1 if problems else 0


def examine() -> tuple[dict[str, Any], list[str]]:
    """What is here, by name (None: absent), and what stops a reconstruction."""
    import platform

    found: dict[str, Any] = {"recon": recon.__version__, "python": platform.python_version(), "platform": platform.platform()}
    found |= {name: _version(name) for name in NEEDED}
    problems = [f"{name} is not installed: pip install {name}" for name in NEEDED if found[name] is None]
    found |= {f"{name} ({use})": _version(name) for name, use in OPTIONAL.items()}
    if found["open3d-cpu (meshes)"] or found["open3d (meshes)"]:
        from recon.meshes.with_open3d import open3d_problem

        found["Open3D loads"] = open3d_problem() or "yes"
    if found["torch"]:
        found |= _torch()
    if found["torch"] and found["safetensors"]:
        from recon.errors import ReconError
        from recon.models import load_model

        try:
            net = load_model(device="cpu")
            found["default network"] = f"recon-small, {sum(p.numel() for p in net.parameters()) / 1e6:.1f} M parameters, weights in order"
        except ReconError as error:
            found["default network"] = None
            problems.append(str(error))
    return found, problems


def _version(package: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    import torch

    gpu = None
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return {"threads": torch.get_num_threads(), "gpu": gpu}
