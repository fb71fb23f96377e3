"""A node whose beats are silenced: the control of every test that says a busy node keeps its place."""

import sys

from dataplane.host.run import main
from dataplane.node.beats import Beats

Beats._is_due = lambda self, now_s: False  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
