"""What the host does around a node: command line, files, log lines (drop-in.md 3)."""
