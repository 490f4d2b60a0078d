"""`python -m recon.app` is `recon app`."""

import sys

from recon.cli import main

if __name__ == "__main__":
    sys.exit(main(["app", *sys.argv[1:]]))
