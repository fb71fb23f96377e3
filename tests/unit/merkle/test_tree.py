"""The tree against the worked example of ledger-format.md 10.2."""

from hashlib import sha256

import pytest

from dataplane.merkle.proof import Step, fold
from dataplane.merkle.tree import MalformedTree, MerkleTree

LEAVES = [sha256(bytes([i])).digest() for i in range(1, 7)]
ROOTS = [
    "00" * 32,
    "632959f31641075aa6848d91649123edb324aca48206c605ea0bbe43590dceec",
    "ae54095e475d3928b223cf378f8aa1995a614c4d2a5b867436d5c988e02909ae",
    "2b59906f20704cee3a43b58dbfcd7eb35dd13beb566542fa24893d038e6eb682",
    "fb9cf99964e944cac40e61024026a3a91512546b864a297cc68fb4c312a1e5e6",
    "645585f2a2973d85ca3095ad36fc3e398d66101b045b0f08b6d7c1df88cf21c8",
    "92203c7917947f8dc301bfa433eef638634b43d0be514fc721bf44502da55a44",
]
SERIALISED_4_TO_6 = bytes.fromhex(
    "00000000000000030000000000000004"
    "e52d9c508c502347344d8c07ad91cbd6068afc75ff6292f062a09ca381c89e71"
    "e77b9a9ae9e30b0dbdb6f510a264ef9de781501d7b6b92ae89eb059c5ab743db"
    "67586e98fad27da0b9968bc039a1ef34c939b9b8e523a8bef89d478608c5ecf6"
    "2b59906f20704cee3a43b58dbfcd7eb35dd13beb566542fa24893d038e6eb682"
)


def full_tree() -> MerkleTree:
    tree = MerkleTree()
    for leaf in LEAVES:
        tree.append(leaf)
    return tree


def test_roots_while_growing() -> None:
    tree = MerkleTree()
    assert tree.root().hex() == ROOTS[0]
    for leaf, root in zip(LEAVES, ROOTS[1:], strict=True):
        tree.append(leaf)
        assert tree.root().hex() == root
    assert [tree.root_at(n).hex() for n in range(1, 8)] == ROOTS


def test_paths() -> None:
    tree = full_tree()
    to_5 = tree.path(5, 7)
    assert [(step.left, step.digest.hex()[:8]) for step in to_5] == [
        (True, "e52d9c50"),
        (False, "67586e98"),
        (True, "2b59906f"),
    ]
    assert tree.path(6, 7) == [
        Step(True, bytes.fromhex("f03808f5b8088c61286d505e8e93aa378991d9889ae2d874433ca06acabcd493")),
        Step(True, bytes.fromhex(ROOTS[3])),
    ]
    assert fold(LEAVES[4], to_5).hex() == ROOTS[6]


def test_serialised_form() -> None:
    tree = full_tree()
    assert tree.serialise(4, 6) == SERIALISED_4_TO_6
    again = MerkleTree.deserialise(SERIALISED_4_TO_6)
    assert (again.size, again.flushed, again.root().hex()) == (7, 4, ROOTS[6])
    assert again.path(5, 7) == tree.path(5, 7)
    assert again.serialise(4, 6) == SERIALISED_4_TO_6


def test_forgotten_leaves_are_refused() -> None:
    tree = full_tree()
    tree.flush(4)
    for forgotten in (lambda: tree.leaf(3), lambda: tree.path(3, 7), lambda: tree.root_at(3)):
        with pytest.raises(IndexError):
            forgotten()
    with pytest.raises(IndexError):
        tree.truncate(3)
    with pytest.raises(IndexError):
        tree.serialise(3, 6)
    assert tree.root_at(4).hex() == ROOTS[3]


def test_leaves_not_there_are_refused() -> None:
    tree = full_tree()
    for missing in (lambda: tree.leaf(7), lambda: tree.path(7, 7), lambda: tree.path(1, 8), lambda: tree.root_at(8)):
        with pytest.raises(IndexError):
            missing()
    with pytest.raises(IndexError):
        tree.root_at(0)


@pytest.mark.parametrize("data", [b"", SERIALISED_4_TO_6[:-1], SERIALISED_4_TO_6 + bytes(32), bytes(16)])
def test_malformed_trees_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedTree):
        MerkleTree.deserialise(data)
