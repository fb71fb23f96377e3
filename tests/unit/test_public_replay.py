"""An old ledger read for a recovery: the public part up to the last sound signature, then the private one."""

from collections.abc import Sequence

import pytest

from dataplane.kv.store import Store
from dataplane.kv.tables import UNIT_KEY, load_json
from dataplane.kv.tx import Tables
from dataplane.kv.writeset import WriteSet, is_public
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import is_signature
from dataplane.private_replay import PrivateReplay, PrivateReplayFailed
from dataplane.public_replay import BadEntry, PublicReplay
from dataplane.replica_state import State
from tests.support.real_ledgers import frames_of, unwrap_secrets
from tests.support.service_ledger import ServiceLedger, filled_ledger
from tests.support.vectors import ccf_services, require_vectors


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return filled_ledger(60)


def frames(ledger: ServiceLedger) -> list[bytes]:
    return [entry.frame for entry in ledger.entries]


def follow(frames: Sequence[bytes], *, careful: bool = False) -> tuple[PublicReplay, str]:
    """The replay after the last frame that fits, and why it ended there."""
    replay = PublicReplay(careful=careful)
    for frame in frames:
        try:
            replay.add(frame)
        except BadEntry as error:
            return replay, str(error)
    return replay, ""


def expected(writes: Sequence[WriteSet], *, public: bool) -> dict[str, dict[bytes, bytes]]:
    """The state a plain dict comes to."""
    state: dict[str, dict[bytes, bytes]] = {}
    for tables in writes:
        for table, rows in tables.items():
            if is_public(table) is public:
                held = state.setdefault(table, {})
                for key, value in rows.items():
                    held.pop(key, None)
                    if value is not None:
                        held[key] = value
    return state


def rows(tables: Tables) -> dict[str, dict[bytes, bytes]]:
    return {name: {key: row[1] for key, row in table.rows.items()} for name, table in tables.items()}


@pytest.mark.parametrize("careful", [False, True])
def test_the_state_at_the_last_signature(ledger: ServiceLedger, careful: bool) -> None:
    unsigned = frames(ledger)
    signed = max(seqno for seqno, entry in enumerate(ledger.decoded(), 1) if is_signature(entry.writes))
    replay, reason = follow(unsigned, careful=careful)
    assert (reason, replay.verify_end()) == ("", True)
    state = replay.state()
    assert state.seqno == signed
    assert state.tree.root() == ledger.tree.root_at(signed + 1)
    writes = [entry.writes for entry in ledger.decoded()][:signed]
    assert rows(state.tables) == expected(writes, public=True)
    views = [entry.txid.view for entry in ledger.decoded()]
    assert [views.index(view) + 1 for view in sorted(set(views))] == sorted(set(state.view_history))
    assert len(state.view_history) == views[signed - 1]
    assert list(state.signed) == [s for s, entry in enumerate(ledger.decoded(), 1) if is_signature(entry.writes)]


def test_entries_that_no_signature_covers_are_dropped() -> None:
    ledger = filled_ledger(5)
    signed = len(ledger.entries)
    ledger.append({"public:records": {b"unsigned": b"x"}})
    replay, _ = follow(frames(ledger))
    assert replay.state().seqno == signed
    assert b"unsigned" not in rows(replay.state().tables)["public:records"]


@pytest.mark.parametrize("careful", [False, True])
def test_a_changed_entry_ends_the_ledger_at_the_signature_before_it(ledger: ServiceLedger, careful: bool) -> None:
    sound = frames(ledger)
    signatures = [seqno for seqno, entry in enumerate(ledger.decoded(), 1) if is_signature(entry.writes)]
    for seqno in range(2, len(sound) + 1, 7):
        changed = bytearray(sound[seqno - 1])
        changed[-1] ^= 1
        replay, reason = follow([*sound[: seqno - 1], bytes(changed), *sound[seqno:]], careful=careful)
        if not reason and not replay.verify_end():
            replay, reason = follow([*sound[: seqno - 1], bytes(changed), *sound[seqno:]], careful=True)
        before = max((s for s in signatures if s < seqno), default=0)
        if seqno == len(sound) or signatures[-1] == seqno:
            assert replay.state().seqno <= seqno
        else:
            assert replay.state().seqno == before, f"{seqno}: {reason}"


def test_a_missing_a_doubled_and_a_torn_entry(ledger: ServiceLedger) -> None:
    sound = frames(ledger)
    for broken in (sound[:9] + sound[10:], sound[:9] + sound[8:], [*sound[:9], sound[9][:-3], *sound[10:]], [b""]):
        replay, reason = follow(broken)
        assert reason
        assert replay.state().seqno <= 9


def test_a_view_changes_after_a_signature_only(ledger: ServiceLedger) -> None:
    other = filled_ledger(4)
    other.append({"public:records": {b"k": b"v"}})
    other.view += 1
    other.append({"public:records": {b"k": b"v"}})
    assert "the view changes" in follow(frames(other))[1]
    other.view -= 2
    back = other.append({"public:records": {b"k": b"v"}})
    del other.entries[back.seqno - 2]
    assert "goes back" in follow(frames(other))[1] or "should be" in follow(frames(other))[1]


def test_a_last_signature_by_a_stranger_is_found_out() -> None:
    ledger = filled_ledger(4)
    sound = len(ledger.entries)
    stranger = ServiceLedger()
    ledger.append({"public:records": {b"forged": b"x"}})
    ledger.append(ledger.signature_writes(node_key=stranger.node_key, service_key=stranger.service_key))
    replay, reason = follow(frames(ledger))
    assert reason == ""  # the root is right
    assert not replay.verify_end()
    replay, reason = follow(frames(ledger), careful=True)
    assert "does not hold" in reason
    assert replay.state().seqno == sound


def test_reading_goes_on_after_a_state(ledger: ServiceLedger) -> None:
    sound = frames(ledger)
    signatures = [seqno for seqno, entry in enumerate(ledger.decoded(), 1) if is_signature(entry.writes)]
    half = signatures[len(signatures) // 2]
    begin = follow(sound[:half])[0].state()
    assert begin.seqno == half
    replay = PublicReplay(begin)
    for frame in sound[half:]:
        replay.add(frame)
    whole = follow(sound)[0].state()
    resumed = replay.state()
    assert (resumed.seqno, resumed.view_history, list(resumed.signed)) == (
        whole.seqno, whole.view_history, list(whole.signed)
    )  # fmt: skip
    assert rows(resumed.tables) == rows(whole.tables)
    assert resumed.tree.root() == whole.tree.root()


def private(state: State, secrets: LedgerSecrets, frames: Sequence[bytes]) -> PrivateReplay:
    replay = PrivateReplay(secrets, state.seqno, state.tree.root())
    for frame in frames[: state.seqno]:
        replay.add(frame)
    return replay


def test_the_private_state(ledger: ServiceLedger) -> None:
    state = follow(frames(ledger))[0].state()
    replay = private(state, ledger.secrets, frames(ledger))
    assert replay.is_complete
    writes = [entry.writes for entry in ledger.decoded()][: state.seqno]
    assert rows(replay.tables()) == expected(writes, public=False)


def test_a_wrong_secret_and_another_ledger_give_no_private_state(ledger: ServiceLedger) -> None:
    state = follow(frames(ledger))[0].state()
    for secrets in (LedgerSecrets({1: bytes(32)}), LedgerSecrets()):
        with pytest.raises(PrivateReplayFailed, match="cannot be decrypted"):
            private(state, secrets, frames(ledger))
    with pytest.raises(PrivateReplayFailed, match="should be"):
        private(state, ledger.secrets, frames(ledger)[1:])
    flags = bytearray(frames(ledger)[0])
    flags[1] ^= 2  # not covered by the tag, but by the Merkle root
    replay = private(state, ledger.secrets, [bytes(flags), *frames(ledger)[1:]])
    with pytest.raises(PrivateReplayFailed, match="Merkle root"):
        replay.tables()


@pytest.mark.parametrize("service", ccf_services())
def test_real_ledgers(service: str) -> None:
    directory = require_vectors() / "ccf-services" / service
    real = frames_of(directory / "ledger")
    replay, reason = follow(real, careful=True)
    assert (reason, replay.verify_end()) == ("", True)
    state = replay.state()
    assert state.seqno == len(real)
    secrets = unwrap_secrets(real, directory / "common")
    decoded = [decode_entry(frame, secrets).writes for frame in real]
    assert rows(state.tables) == expected(decoded, public=True)
    assert rows(private(state, secrets, real).tables()) == expected(decoded, public=False)
    assert [load_json(value) for _, value in state.secret_history()]


def test_private_tables_come_under_what_was_written_since() -> None:
    store = Store(version=10)
    later: list[tuple[int, WriteSet]] = [
        (11, {"records": {b"a": b"11", b"b": None}}),
        (13, {"records": {b"a": None, b"c": b"13"}, "fresh": {UNIT_KEY: b"x"}}),
    ]
    for seqno in (11, 12, 13, 14):
        store.apply(seqno, dict(later).get(seqno, {"public:p": {b"k": b"%d" % seqno}}))
    store.compact(11)
    old = Store()
    old.apply(1, {"records": {b"a": b"1", b"b": b"1", b"d": b"1"}, "other": {b"k": b"v"}})
    store.adopt(old.tables(), later)
    assert store.begin_at_committed().items("records") == [(b"a", b"11"), (b"d", b"1")]
    assert store.begin().items("records") == [(b"c", b"13"), (b"d", b"1")]
    assert store.begin().get("other", b"k") == b"v"
    assert store.begin().get("fresh", UNIT_KEY) == b"x"
    assert store.begin().get("public:p", b"k") == b"14"
    store.rollback(12)
    assert store.begin().items("records") == [(b"a", b"11"), (b"d", b"1")]
    assert store.begin().version_of_previous_write("records", b"d") == 1
