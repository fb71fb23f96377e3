"""A node that makes each fresh interpreter as a new runtime, as where nothing compiled the allocator."""

import sys

from dataplane.host.run import main
from dataplane.js import memory

if __name__ == "__main__":
    memory._lib = None
    sys.exit(main(sys.argv[1:]))
