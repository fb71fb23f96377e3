"""The Merkle tree over the ledger (ledger-format.md 2.4, 2.7).

Leaf 0 is 32 zero bytes, leaf i belongs to the transaction with seqno i. A parent is SHA-256 of its two children; the
last node of a level with an odd count moves up unhashed.

Only *complete* nodes are kept: node i of level k exists once all 2^k leaves below it do. A tree of n leaves is then
one complete subtree (*peak*) per bit of n, and its root folds the peaks from the right. Appending costs one hash on
average, a root at most log2(n).
"""

from hashlib import sha256
from struct import Struct

from dataplane.merkle.proof import Step

DIGEST_SIZE = 32
FIRST_LEAF = bytes(DIGEST_SIZE)

_HEADER = Struct(">QQ")  # the serialised tree is big-endian, unlike everything else in the ledger


class MalformedTree(ValueError):
    """The bytes are not a serialised tree."""


class MerkleTree:
    """An append-only tree that can drop its newest leaves and forget its oldest. `size` counts leaf 0."""

    __slots__ = ("_flushed", "_forgotten", "_levels", "size")

    def __init__(self) -> None:
        self.size = 1
        self._flushed = 0  # leaves below are forgotten
        self._levels = [[FIRST_LEAF]]
        self._forgotten = [0]  # per level: how many nodes are gone from the front of its list

    @property
    def flushed(self) -> int:
        """The first leaf that paths and `serialise` can still start from."""
        return self._flushed

    def append(self, leaf: bytes) -> None:
        """Add the next leaf (32 bytes)."""
        levels = self._levels
        levels[0].append(leaf)
        index = self.size
        self.size = index + 1
        level = 0
        while index & 1:
            leaf = sha256(levels[level][-2] + leaf).digest()
            index >>= 1
            level += 1
            if level == len(levels):
                levels.append([])
                self._forgotten.append(0)
            levels[level].append(leaf)

    def leaf(self, index: int) -> bytes:
        """The leaf at `index`; raises `IndexError` where it is forgotten or not yet there."""
        self._check_range(index, self.size)
        return self._node(0, index)

    def root(self) -> bytes:
        """The root over all leaves."""
        return self._fold_peaks(self.size)

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` leaves; raises `IndexError` outside of `max(flushed, 1)`..`self.size`."""
        if not max(self._flushed, 1) <= size <= self.size:
            raise IndexError(f"no root over {size} leaves: {self._flushed} forgotten, {self.size} there")
        return self._fold_peaks(size)

    def path(self, index: int, size: int) -> list[Step]:
        """The way from leaf `index` to the root over the first `size` leaves; raises `IndexError` as `leaf` does."""
        if size > self.size:
            raise IndexError(f"no path in {size} leaves: {self.size} there")
        self._check_range(index, size)
        steps = []
        level = 0
        count = size  # nodes on this level
        while count > 1:
            sibling = index ^ 1
            if sibling < count:
                whole = (sibling + 1) << level <= size
                digest = self._node(level, sibling) if whole else self._fold_peaks(size & ((1 << level) - 1), size)
                steps.append(Step(sibling < index, digest))
            index >>= 1
            count = (count + 1) >> 1
            level += 1
        return steps

    def truncate(self, size: int) -> None:
        """Drop all leaves from `size` on; raises `IndexError` where that would need forgotten ones."""
        if not max(self._flushed, 1) <= size <= self.size:
            raise IndexError(f"cannot go back to {size} leaves: {self._flushed} forgotten, {self.size} there")
        for level, nodes in enumerate(self._levels):
            del nodes[max((size >> level) - self._forgotten[level], 0) :]
        self.size = size

    def flush(self, to: int) -> None:
        """Forget the leaves below `to`; roots, paths and rollbacks from there on stay possible."""
        to = min(to, self.size - 1)
        if to <= self._flushed:
            return
        for level, nodes in enumerate(self._levels):
            needed = _first_needed(level, to)
            if needed > self._forgotten[level]:
                del nodes[: needed - self._forgotten[level]]
                self._forgotten[level] = needed
        self._flushed = to

    def serialise(self, first: int, last: int) -> bytes:
        """Leaves `first`..`last` and what is needed of those before; `last` is the newest leaf it will know."""
        self._check_range(first, last + 1)
        self._check_range(last, self.size)
        start = first - self._forgotten[0]
        leaves = self._levels[0][start : start + last + 1 - first]
        peaks = [self._node(k, (first >> k) - 1) for k in _bits(first)]
        return _HEADER.pack(len(leaves), first) + b"".join(leaves) + b"".join(peaks)

    @classmethod
    def deserialise(cls, data: bytes) -> "MerkleTree":
        """The tree that `serialise` wrote, its earlier leaves forgotten; raises `MalformedTree`."""
        if len(data) < _HEADER.size:
            raise MalformedTree(f"{len(data)} bytes cannot hold a tree")
        count, first = _HEADER.unpack_from(data)
        digests = [data[i : i + DIGEST_SIZE] for i in range(_HEADER.size, len(data), DIGEST_SIZE)]
        if count == 0 or len(data) != _HEADER.size + DIGEST_SIZE * (count + first.bit_count()):
            raise MalformedTree(f"{len(data)} bytes do not hold {count} leaves from {first} on")
        tree = cls()
        tree.size = tree._flushed = first
        tree._levels = [[] for _ in range(max(first.bit_length(), 1))]
        tree._forgotten = [_first_needed(level, first) for level in range(len(tree._levels))]
        for level, peak in zip(_bits(first), digests[count:], strict=True):
            tree._levels[level].append(peak)
        for leaf in digests[:count]:
            tree.append(leaf)
        return tree

    def _node(self, level: int, index: int) -> bytes:
        return self._levels[level][index - self._forgotten[level]]

    def _fold_peaks(self, bits: int, size: int = 0) -> bytes:
        """The subtree formed by the peaks of `size` (default `bits`) that belong to the set bits of `bits`."""
        size = size or bits
        node = b""
        for level in _bits(bits):
            peak = self._node(level, (size >> level) - 1)
            node = sha256(peak + node).digest() if node else peak
        return node

    def _check_range(self, index: int, size: int) -> None:
        if not self._flushed <= index < size:
            raise IndexError(f"leaf {index} is not among {self._flushed}..{size - 1}")


def _bits(number: int) -> list[int]:
    """The positions of the set bits, least significant first."""
    return [k for k in range(number.bit_length()) if number >> k & 1]


def _first_needed(level: int, flushed: int) -> int:
    """The first node of `level` that a tree without its first `flushed` leaves keeps: a left sibling, or itself."""
    index = flushed >> level
    return index - (index & 1)
