"""A replica that begins at a state, as after a snapshot: it follows, leads, and ends as one that saw everything."""

from collections.abc import Sequence

from dataplane.consensus.log import Entry
from dataplane.consensus.parameters import Settings
from dataplane.consensus.raft import Raft
from dataplane.kv.tables import NODES_INFO, dump_json
from dataplane.ledger.chunk import Chunker
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.merkle.tree import MerkleTree
from dataplane.replica import Replica
from dataplane.replica_state import State, trusted_nodes
from tests.simulation.replica_machine import SECRET, node, node_id, reconfigure, signer

SETTINGS = Settings(election_timeout_ms=1000, message_timeout_ms=100)


class Host:
    """A replica with its ledger in memory; `frames[0]` is seqno `first`."""

    def __init__(self, index: int, raft: Raft | None = None, first: int = 1) -> None:
        self.id = node_id(index)
        self.frames: list[bytes] = []
        self.first = first
        begin = raft or Raft.join(node_id=self.id, settings=SETTINGS, draw=lambda low, high: high, read=self.read)
        self.replica = Replica(
            raft=begin, secrets=LedgerSecrets({1: SECRET}), chunker=Chunker(20_000), sign=signer(node(index))
        )

    def read(self, first: int, last: int) -> Sequence[Entry]:
        if first < self.first:
            return ()
        return self.replica.entries(self.frames[first - self.first : last + 1 - self.first], first)


def starter() -> Host:
    host = Host(0)
    host.replica.raft = Raft.start(node_id=host.id, settings=SETTINGS, draw=lambda low, high: high, read=host.read)
    return host


def run(*hosts: Host) -> None:
    """Carry out duties until nobody has any."""
    by_id = {host.id: host for host in hosts}
    busy = True
    while busy:
        busy = False
        for host in hosts:
            duties = host.replica.take_duties()
            assert duties.refused is None
            if duties.truncate_after is not None:
                del host.frames[duties.truncate_after + 1 - host.first :]
            host.frames += [frame.data for frame in duties.write]
            if duties.sync:
                host.replica.persisted(host.first + len(host.frames) - 1)
            for receiver, message in duties.send:
                if receiver in by_id:
                    by_id[receiver].replica.receive(host.id, message)
            busy = busy or bool(duties.write or duties.sync or duties.send)


def trust(host: Host, *indexes: int) -> None:
    """Trust these nodes and retire the others."""
    reconfigure(host.replica, tuple((node_id(index), f"127.0.0.{index}:1") for index in sorted(indexes, key=node_id)))


def put(host: Host, key: bytes, value: bytes) -> None:
    tx = host.replica.begin()
    tx.put("records", key, value)
    tx.put("public:records", key, value)
    host.replica.submit(tx)


def state_of(host: Host) -> State:
    """What a snapshot at the newest entry, a committed signature, would hold."""
    replica = host.replica
    seqno = replica.raft.commit_seqno
    assert replica.is_signature_at(seqno)
    assert seqno == replica.raft.last_seqno
    tree = MerkleTree.deserialise(replica.tree.serialise(seqno, seqno))
    return State(seqno, replica.raft.view_history, replica.store.tables(), tree, (seqno,))


def restored(index: int, state: State, frames: Sequence[bytes] | None = None) -> Host:
    """A host that begins at `state`, with the whole old ledger or, by default, with none of it."""
    host = Host(index, first=state.seqno + 1 if frames is None else 1)
    host.frames = list(frames or ())
    raft = Raft.join(
        node_id=host.id, settings=SETTINGS, draw=lambda low, high: high, read=host.read, origin=state.origin()
    )
    host.replica.restore(raft, state, Chunker(20_000, state.seqno))
    return host


def service_with_a_snapshot() -> tuple[Host, State]:
    first = starter()
    trust(first, 0)
    for number in range(5):
        put(first, b"%d" % number, b"old")
    first.replica.sign()
    run(first)
    assert first.replica.raft.commit_seqno == 7
    return first, state_of(first)


def test_it_follows_from_its_state_on_and_is_the_same_as_the_leader() -> None:
    first, state = service_with_a_snapshot()
    joiner = restored(1, state)
    trust(first, 0, 1)
    put(first, b"1", b"new")
    first.replica.sign()
    first.replica.tick(100)
    run(first, joiner)
    assert joiner.replica.raft.commit_seqno == 10
    assert joiner.frames == first.frames[7:]
    assert joiner.replica.tree.root() == first.replica.tree.root()
    for table in ("records", "public:records", NODES_INFO):
        assert joiner.replica.store.tables()[table].rows == first.replica.store.tables()[table].rows
        assert joiner.replica.store.tables()[table].version == first.replica.store.tables()[table].version
    assert joiner.replica.last_signed_seqno == 10


def test_it_leads_and_serves_a_follower_from_the_ledger_before_its_state() -> None:
    """Entries before the state carry no marks; the follower finds the configuration in what they write."""
    first, state = service_with_a_snapshot()
    leader = restored(1, state, first.frames[:7])
    trust(first, 0, 1)
    first.replica.sign()
    first.replica.tick(100)
    run(first, leader)
    leader.replica.tick(1000)
    run(leader, first)
    assert leader.replica.is_leader
    late = Host(2)
    trust(leader, 0, 1, 2)
    leader.replica.sign()
    leader.replica.tick(100)
    run(leader, first, late)
    leader.replica.tick(100)
    run(leader, first, late)
    assert late.frames == first.frames == leader.frames
    assert late.replica.raft.commit_seqno == leader.replica.raft.commit_seqno
    assert late.replica.raft.configurations == first.replica.raft.configurations
    assert late.replica.tree.root() == leader.replica.tree.root()


def test_membership_of_a_state_comes_from_the_nodes_it_names() -> None:
    first, _ = service_with_a_snapshot()
    trust(first, 0, 1)
    trust(first, 0)
    tables = first.replica.store.tables()
    origin = State(9, (1, 1), tables, MerkleTree()).origin()
    (configuration,) = origin.configurations
    assert configuration.ids == (node_id(0),)
    assert trusted_nodes(tables) == configuration.nodes
    (retirement,) = origin.retirements
    assert (retirement.node_id, retirement.address, retirement.marked_seqno) == (node_id(1), "127.0.0.1:1", 0)


def test_a_node_of_ccf_1_has_flat_addresses() -> None:
    first, _ = service_with_a_snapshot()
    tx = first.replica.begin()
    tx.put(NODES_INFO, b"00", dump_json({"status": "Retired", "nodehost": "10.0.0.1", "nodeport": "80"}))
    first.replica.submit(tx)
    (retirement,) = State(8, (1, 1), first.replica.store.tables(), MerkleTree()).origin().retirements
    assert retirement.address == "10.0.0.1:80"
