"""The drop-in executable: parse, configure logging, run, exit code (drop-in.md 3.1)."""

import sys

from dataplane.host.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
