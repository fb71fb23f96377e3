"""The tree against a naive one that builds every level anew."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dataplane.merkle.proof import fold
from dataplane.merkle.tree import FIRST_LEAF, MerkleTree


def naive_root(leaves: list[bytes]) -> bytes:
    level = leaves
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [sha256(b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


@given(count=st.integers(1, 200), data=st.data())
def test_every_path_leads_to_the_root(count: int, data: st.DataObject) -> None:
    leaves = [FIRST_LEAF, *(sha256(i.to_bytes(4, "big")).digest() for i in range(1, count))]
    tree = MerkleTree()
    for leaf in leaves[1:]:
        tree.append(leaf)
    size = data.draw(st.integers(1, count))
    index = data.draw(st.integers(0, size - 1))
    assert fold(leaves[index], tree.path(index, size)) == naive_root(leaves[:size])


class Tree(RuleBasedStateMachine):
    """Append, truncate, flush and reload in any order; the naive twin keeps all leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = MerkleTree()
        self.leaves = [FIRST_LEAF]
        self.flushed = 0
        self.drawn = 0

    @rule(count=st.integers(1, 40))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.drawn += 1
            leaf = sha256(self.drawn.to_bytes(8, "big")).digest()
            self.tree.append(leaf)
            self.leaves.append(leaf)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(max(self.flushed, 1), len(self.leaves)))
        self.tree.truncate(size)
        del self.leaves[size:]

    @rule(data=st.data())
    def flush(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.leaves) - 1))
        self.tree.flush(to)
        self.flushed = max(self.flushed, to)

    @precondition(lambda self: self.flushed < len(self.leaves))
    @rule(data=st.data())
    def reload(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(self.flushed, len(self.leaves) - 1))
        self.tree = MerkleTree.deserialise(self.tree.serialise(first, len(self.leaves) - 1))
        self.flushed = first

    @precondition(lambda self: self.flushed < len(self.leaves))
    @rule(data=st.data())
    def path(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(self.flushed, len(self.leaves) - 1))
        size = data.draw(st.integers(index + 1, len(self.leaves)))
        assert fold(self.leaves[index], self.tree.path(index, size)) == naive_root(self.leaves[:size])

    @invariant()
    def same_root(self) -> None:
        assert self.tree.size == len(self.leaves)
        assert self.tree.root() == naive_root(self.leaves)
        size = max(self.flushed, 1)
        assert self.tree.root_at(size) == naive_root(self.leaves[:size])


TestTree = Tree.TestCase
