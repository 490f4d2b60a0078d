"""A scene as a folder for any browser: index.html opens with a double click, without network or server, and the folder can be shared as it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from recon.commands.output import add_overwrite_argument, say, told_warnings, writable_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="the folder that `recon run` wrote, or a file or folder of any format that `recon convert` reads")
    parser.add_argument("-o", "--output", default="view", help="folder for the page and its files (default: %(default)s)")
    parser.add_argument("--title", help="title of the page (default: the source's name)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_overwrite_argument(parser)


def run(args: argparse.Namespace) -> int:
    from recon.app.offline import write_offline
    from recon.app.scene_folder import scene_of
    from recon.io.guard import Guard

    source, output = Path(args.source), Path(args.output)
    title = args.title or f"{source.resolve().name} - recon"
    with told_warnings() as warnings:
        found = scene_of(source)
        with writable_folder(output) as folder:
            guard = Guard(found.files, overwrite=args.overwrite)
            files = write_offline(found.scene, folder, title=title, report=found.report, confidence=found.confidence, guard=guard)
    size = sum(file.stat().st_size for file in files)
    result = {"page": str(files[0]), "files": [str(file) for file in files], "bytes": size, "warnings": warnings}
    lines = [*(f"warning: {text}" for text in warnings), f"{files[0]}: {len(files)} files, {size / 1e6:.1f} MB; open it in a browser"]
    say(args, result, lines)
    if args.open:
        import webbrowser

        webbrowser.open(files[0].resolve().as_uri())
    return 0
