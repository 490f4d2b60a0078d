"""The web page: photos in, a view from all sides, files to take home. On this machine alone unless --host says otherwise."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys

from recon.commands import UsageError

PASSWORD = "RECON_APP_AUTH"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for a whole network (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port (default: %(default)s)")
    text = f"who may sign in; several times for several people; the variable {PASSWORD} takes the same, out of others' sight"
    parser.add_argument("--auth", action="append", default=[], metavar="USER:PASSWORD", help=text)
    parser.add_argument("--origin", action="append", default=[], metavar="URL", help="address of the page where a proxy stands before it")
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="offer a further network of `recon models`")
    parser.add_argument("--most-photos", type=int, default=100, help="photos of a job (default: %(default)s)")
    parser.add_argument("--most-megapixels", type=float, default=100, help="of one photo (default: %(default)s)")
    parser.add_argument("--most-mb", type=int, default=1000, help="of one upload (default: %(default)s)")
    parser.add_argument("--jobs-a-user", type=int, default=3, help="waiting or at work (default: %(default)s)")
    parser.add_argument("--keep-minutes", type=float, default=60, help="results and uploads are deleted after so long (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    if not 0 < args.port < 65536:
        raise UsageError(f"--port is {args.port}, wanted 1 to 65535")
    auth = [_pair(text) for text in [*args.auth, *os.environ.get(PASSWORD, "").split()]]
    from recon.app.limits import Limits
    from recon.app.server import Options, serve

    limits = Limits(
        photos=args.most_photos, megapixels=args.most_megapixels, total_mb=args.most_mb, file_mb=min(args.most_mb, Limits.file_mb),
        jobs_a_user=args.jobs_a_user, lifetime_s=60 * args.keep_minutes, after_leaving_s=min(60 * args.keep_minutes, Limits.after_leaving_s),
    )  # fmt: skip
    if args.host not in ("127.0.0.1", "localhost", "::1") and not auth:
        logging.getLogger("recon").warning("everyone who reaches %s may use this server; --auth asks for a password", args.host)

    def told(url: str) -> None:
        if args.json:
            print(json.dumps({"url": url}), flush=True)
        elif not args.quiet:
            print(f"the page is at {url}  (Ctrl-C ends it)", file=sys.stderr, flush=True)

    serve(Options(host=args.host, port=args.port, auth=auth, origins=args.origin, weights=args.weights, limits=limits), told)
    return 0


def _pair(text: str) -> tuple[str, str]:
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise UsageError("--auth wants USER:PASSWORD")  # the value is not told: it may be a password
    return user, password
