"""Proofs that a leaf is under a root, without the tree (ledger-format.md 2.4)."""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple


class Step(NamedTuple):
    """One sibling on the way from a leaf to the root: `left` tells that it stands on the left side."""

    left: bool
    digest: bytes


def fold(leaf: bytes, path: Iterable[Step]) -> bytes:
    """The root that `path` leads to from `leaf` (both 32 bytes)."""
    node = leaf
    for left, digest in path:
        node = sha256(digest + node if left else node + digest).digest()
    return node
