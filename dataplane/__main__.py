"""The drop-in executable: parse, configure logging, run, exit code (drop-in.md 3.1)."""

import sys

from dataplane.host.run import main


def run() -> int:
    """The command `mccf-node`, whose file is what a launcher of the original starts."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
