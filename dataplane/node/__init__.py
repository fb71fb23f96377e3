"""The node's shell: the loop that owns the replica, and everything that touches disk and network for it."""
