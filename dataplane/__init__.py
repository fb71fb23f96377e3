"""The node: a drop-in for CCF's node executable."""
