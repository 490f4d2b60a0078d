"""Contains downloads of published weights from Hugging Face's hub: a fixed revision, checked by sha256, kept in the hub's own cache.

The hub's client shows progress, resumes what was broken off, and gives what is in the cache where there is no network.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from recon.weights import WeightsError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")  # owner/name, with @revision or without
PATTERNS = (["*.safetensors", "*.safetensors.index.json", "config.json"], ["*.ckpt", "*.pth", "config.json"])  # the first that finds something


def _client():
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports] (optional)
    except ImportError as error:
        raise WeightsError("downloading from the hub needs huggingface_hub: pip install huggingface_hub; or give weights=PATH") from error
    return huggingface_hub


def hub_file(hub_id: str, file: str, revision: str | None, sha256: str | None) -> Path:
    """Path of one published file, checked; WeightsError when that fails."""
    client = _client()
    try:
        path = Path(client.hf_hub_download(hub_id, file, revision=revision))
    except Exception as error:  # the library raises a dozen kinds, all of them meaning "not downloaded"
        raise WeightsError(f"{hub_id}/{file} could not be downloaded: {error}") from error
    _check(path, sha256)
    return path


def hub_folder(name: str) -> Path:
    """Folder with the checkpoint of `owner/name` or `owner/name@revision`, checked; WeightsError when that fails."""
    hub_id, _, revision = name.partition("@")
    client, folder = _client(), None
    for patterns in PATTERNS:
        try:
            folder = Path(client.snapshot_download(hub_id, revision=revision or None, allow_patterns=patterns))
        except Exception as error:
            raise WeightsError(f"{name} could not be downloaded: {error}") from error
        found = [f for f in folder.iterdir() if f.suffix in (".safetensors", ".ckpt", ".pth")]
        if found:
            for file in found:
                _check(file, None)
            return folder
    raise WeightsError(f"{name} holds no checkpoint: wanted one of {', '.join(p for patterns in PATTERNS for p in patterns[:-1])}")


def _check(path: Path, sha256: str | None) -> None:
    """Raises WeightsError unless the file has the digest wanted; without one, that which the hub's cache names its large files by."""
    stored = path.resolve().name
    wanted = sha256 or (stored if re.fullmatch(r"[0-9a-f]{64}", stored) else None)
    if wanted is None:
        return
    with open(path, "rb") as stream:
        got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != wanted:
        raise WeightsError(f"{path}: sha256 is {got}, wanted {wanted}")
