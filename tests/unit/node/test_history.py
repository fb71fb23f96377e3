"""History in a loop and a thread: entries of any age, proven or not handed out, kept within limits."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from dataplane.ledger.chunk import parse_name
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.signatures import is_signature
from dataplane.past import PastState
from dataplane.receipt import verify_receipt
from dataplane.receipt_cose import verify_cose_receipt
from dataplane.txid import TxID
from tests.support.history import HistoryWorld
from tests.support.past_services import PresentService, present, recovered
from tests.support.service_ledger import ServiceLedger, filled_ledger
from tests.support.vectors import ccf_services, require_vectors


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    """Two views, a rekey, a recovery, private writes and claims."""
    ledger = filled_ledger(40, chunk_size=6_000)
    ledger.rekey()
    ledger.append({"records": {b"k": b"rekeyed"}})
    ledger.sign()
    ledger.recover()
    ledger.append({"records": {b"k": b"recovered"}})
    ledger.sign()
    return ledger


def signatures(ledger: ServiceLedger) -> list[int]:
    return [entry.txid.seqno for entry in ledger.decoded() if is_signature(entry.writes)]


def world(ledger: ServiceLedger, directory: Path, **options: object) -> HistoryWorld:
    return HistoryWorld(present(ledger), ledger.write_to(directory), signed=signatures(ledger), **options)  # type: ignore[arg-type]


async def state(world: HistoryWorld, ledger: ServiceLedger, seqno: int) -> PastState:
    (entry,) = ledger.decoded(seqno, seqno)
    return await world.eventually(lambda: world.history.state(entry.txid))


def test_every_transaction_with_its_writes_and_receipts(ledger: ServiceLedger, tmp_path: Path) -> None:
    there = world(ledger, tmp_path)

    async def play() -> None:
        for entry in ledger.decoded():
            found = await state(there, ledger, entry.txid.seqno)
            assert (found.txid, found.entry.writes) == (entry.txid, entry.writes)
            assert found.is_signature is is_signature(entry.writes)
            verified = verify_receipt(found.receipt(), ledger.service_cert)
            if found.is_signature:
                assert verified.txid is None
                continue
            assert (verified.txid, verified.claims_digest) == (entry.txid, entry.claims_digest)
            endorsements = found.cose_endorsements or ()
            again = verify_cose_receipt(found.cose_receipt(), ledger.service_cert, endorsements=endorsements)
            assert again.root == verified.root
            assert bool(endorsements) is ("service_endorsements" in found.receipt())

    there.run(play())


def test_the_first_answer_is_that_there_is_none_yet(ledger: ServiceLedger, tmp_path: Path) -> None:
    there = world(ledger, tmp_path)

    async def play() -> None:
        assert there.history.state(TxID(2, 5)) is None
        assert (await state(there, ledger, 5)).txid == TxID(2, 5)
        assert there.history.state(TxID(2, 5)) is not None

    there.run(play())


@pytest.mark.parametrize("name", ccf_services())
def test_real_ledgers(name: str, tmp_path: Path) -> None:
    """A present service reads all that its predecessors wrote, signatures not known to it beforehand."""
    services = require_vectors() / "ccf-services"
    service = recovered(name, services)
    copied = HistoryWorld(service, tmp_path / "main", services / name / "ledger")
    signed = next(entry.txid.seqno for entry in service.proven())
    last_committed = max(
        int(path.name.split("-")[1].split(".")[0]) for path in (services / name / "ledger").glob("*.committed")
    )
    covered = min(signed, last_committed)
    copied.replica.raft.commit_seqno = covered

    async def play() -> None:
        states = await copied.eventually(lambda: copied.history.states(1, 1, covered, 60))
        assert [found.txid.seqno for found in states] == list(range(1, covered + 1))
        for found in states:
            receipt = found.receipt()
            if "cert" not in receipt or "service_endorsements" not in receipt:
                assert name == "sgx_service"  # CCF 1.x, whose first service cannot be found again
                continue
            expected = found.entry.components.write_set_digest if "leaf" in receipt and receipt["proof"] else None
            verify_receipt(receipt, service.certificate, write_set_digest=expected)

    copied.run(play())


def test_a_node_that_joined_late_looks_for_signatures(ledger: ServiceLedger, tmp_path: Path) -> None:
    late = HistoryWorld(present(ledger), ledger.write_to(tmp_path))

    async def play() -> None:
        for seqno in (1, 2, 5, 17, 30):
            assert verify_receipt((await state(late, ledger, seqno)).receipt(), ledger.service_cert)

    late.run(play())


def test_ranges_under_handles(ledger: ServiceLedger, tmp_path: Path) -> None:
    there, last = world(ledger, tmp_path), len(ledger.entries)

    async def play() -> None:
        history = there.history
        found = await there.eventually(lambda: history.states(7, 3, last, 60))
        assert [past.txid for past in found] == [entry.txid for entry in ledger.decoded(3)]
        assert [past.entry.writes for past in found] == [entry.writes for entry in ledger.decoded(3)]
        assert history.states(8, 10, 12, 60) is not None  # another handle keeps these already
        assert history.states(7, 1, 3, 60) is None  # the same handle asks for something else
        assert history.drop(7)
        assert not history.drop(7)
        assert not history.drop(99)
        assert history.states(9, last, last + 1, 60) is None  # not committed
        await there.never(lambda: history.states(9, last, last + 1, 60))

    there.run(play())


def test_a_handle_expires(ledger: ServiceLedger, tmp_path: Path) -> None:
    now = [100.0]
    there = world(ledger, tmp_path, clock=lambda: now[0])

    async def play() -> None:
        history = there.history
        await there.eventually(lambda: history.states(1, 3, 5, 10))
        now[0] += 9
        assert history.states(1, 3, 5, 10) is not None  # from here on another ten seconds
        now[0] += 9
        assert history.states(2, 4, 4, 1) is not None
        assert history.size > 0
        now[0] += 2
        assert history.states(3, 9, 9, 1) is None
        assert not history.drop(1)
        assert not history.drop(2)
        assert history.size == 0

    there.run(play())


def test_an_expiry_may_be_shortened(ledger: ServiceLedger, tmp_path: Path) -> None:
    now = [100.0]
    there = world(ledger, tmp_path, clock=lambda: now[0])

    async def play() -> None:
        await there.eventually(lambda: there.history.states(1, 3, 5, 1000))
        assert there.history.states(1, 3, 5, 1) is not None
        now[0] += 2
        there.history.states(2, 9, 9, 1)
        assert not there.history.drop(1)

    there.run(play())


def test_the_least_recently_used_make_room(ledger: ServiceLedger, tmp_path: Path) -> None:
    """The limit is soft: what was fetched last stays, also when it is larger than all that may be kept."""
    there = world(ledger, tmp_path, soft_limit=30_000)

    async def play() -> None:
        history = there.history
        sizes = []
        for handle in range(20):
            await there.eventually(lambda handle=handle: history.states(handle, 1 + 2 * handle, 2 + 2 * handle, 60))  # type: ignore[misc]
            sizes.append(history.size)
        assert max(sizes) < 45_000
        assert history.states(19, 39, 40, 60) is not None
        assert not history.drop(0)
        everything = await there.eventually(lambda: history.states(50, 1, len(ledger.entries), 60))
        assert len(everything) == len(ledger.entries)
        assert history.size > 30_000
        await there.eventually(lambda: history.states(51, 1, 1, 60))
        assert not history.drop(50)

    there.run(play())


def test_nothing_is_handed_out_of_a_damaged_chunk(
    ledger: ServiceLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes flipped at random places: what is still answered is what was written. Positive control: some is."""
    directory, random = ledger.write_to(tmp_path), Random(11)
    names = [(name, path) for path in directory.iterdir() if (name := parse_name(path.name)) and name.committed]
    name, chunk = max(names, key=lambda item: (item[0].last or 0) - item[0].first)
    seqnos, good = range(name.first, (name.last or 0) + 1), chunk.read_bytes()
    answered = refused = 0

    async def play(there: HistoryWorld) -> None:
        nonlocal answered, refused
        for seqno in seqnos:
            (entry,) = ledger.decoded(seqno, seqno)
            there.history.state(entry.txid)
        await asyncio.sleep(0.1)
        for seqno in seqnos:
            (entry,) = ledger.decoded(seqno, seqno)
            found = there.history.state(entry.txid)
            if found is None:
                refused += 1
                continue
            answered += 1
            assert (found.txid, found.entry.writes) == (entry.txid, entry.writes)
            verify_receipt(found.receipt(), ledger.service_cert)

    for _ in range(15):
        changed = bytearray(good)
        changed[random.randrange(len(good))] ^= random.randrange(1, 256)
        chunk.write_bytes(bytes(changed))
        there = HistoryWorld(present(ledger), tmp_path / "main", directory, signed=signatures(ledger))
        there.run(play(there))
    assert answered > refused > 10
    assert any("cannot be served" in record.message for record in caplog.records)


def test_what_was_damaged_is_served_once_it_is_mended(
    ledger: ServiceLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that is mounted late, as CCF's own operations test does it, with the texts it looks for in the log."""
    source, mounted = ledger.write_to(tmp_path / "source"), tmp_path / "mounted"
    mounted.mkdir()
    late = HistoryWorld(present(ledger), tmp_path / "main", mounted)

    def each(change: Callable[[Path, bytes], None]) -> None:
        for path in source.glob("*.committed"):
            change(mounted / path.name, path.read_bytes())

    async def play() -> None:
        ask = lambda: late.history.state(TxID(2, 5))  # noqa: E731
        await late.never(ask)
        each(lambda path, data: path.write_bytes(b""))
        await late.never(ask)
        each(lambda path, data: path.write_bytes(bytes(len(data))))
        await late.never(ask)
        each(lambda path, data: path.write_bytes((len(data) + 1).to_bytes(8, "little") + bytes(len(data) - 8)))
        await late.never(ask)
        each(lambda path, data: path.write_bytes(data))
        assert (await late.eventually(ask)).txid == TxID(2, 5)

    with caplog.at_level(logging.WARNING):
        late.run(play())
    for text in (
        "Cannot find ledger file for seqno 5",
        "Failed to read positions offset from ledger file",
        "cannot be read: invalid table offset (0)",
        "greater than total file size",
    ):
        assert sum(text in record.message for record in caplog.records) == 1, text


def test_a_fork_is_not_served(ledger: ServiceLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Signed by the service, in a view that consensus did not choose: a file of a node that was cut off."""
    there = world(ledger, tmp_path)
    ours = there.replica.txid_at
    there.replica.txid_at = lambda seqno: TxID(ours(seqno).view + 1, seqno)  # type: ignore[method-assign]

    async def play() -> None:
        await there.never(lambda: there.history.state(TxID(3, 5)))

    there.run(play())
    assert "the ledger file holds 2.5, this service 3.5" in caplog.text


def test_a_signer_of_another_service_is_not_believed(
    ledger: ServiceLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole and consistent, under our secrets, but signed by a node that our service never endorsed."""
    stranger = ServiceLedger()
    stranger.append({"public:t": {b"k": b"v"}})
    stranger.sign()
    mine = present(stranger)
    mine.info = dict(mine.info, cert=ledger.service_cert)
    there = HistoryWorld(mine, stranger.write_to(tmp_path), signed=signatures(stranger))

    async def play() -> None:
        await there.never(lambda: there.history.state(TxID(2, 3)))

    there.run(play())
    assert "not endorsed by the service of its time" in caplog.text


def test_entries_in_each_others_place_are_found_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each is proven, neither is the one that was asked for."""
    ledger = filled_ledger(12)
    swapped = LedgerFiles(tmp_path)
    entries = list(ledger.entries)
    size = {len(entry.frame) for entry in entries[4:6]}
    entries[4], entries[5] = entries[5], entries[4]
    assert size
    for seqno, entry in enumerate(entries, 1):
        swapped.append(entry.frame, seqno)
    swapped.close()
    there = HistoryWorld(present(ledger), tmp_path, signed=signatures(ledger))

    async def play() -> None:
        await there.never(lambda: there.history.state(TxID(2, 5)))
        await there.never(lambda: there.history.states(1, 4, 7, 60))

    there.run(play())
    assert "stands where" in caplog.text


def test_an_unknown_secret_is_no_answer(
    ledger: ServiceLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service: PresentService = present(ledger)
    service.secrets = type(service.secrets)({version: key for version, key in service.secrets if version > 1})
    there = HistoryWorld(service, ledger.write_to(tmp_path), signed=signatures(ledger))

    async def play() -> None:
        await there.never(lambda: there.history.state(TxID(2, 5)))
        assert (await state(there, ledger, len(ledger.entries))).is_signature

    there.run(play())
    assert "no ledger secret covers seqno" in caplog.text


def test_a_failing_reader_is_reported_with_its_trace(
    ledger: ServiceLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = world(ledger, tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    there.prover.fetch = broken  # type: ignore[assignment, method-assign]

    async def play() -> None:
        await there.never(lambda: there.history.state(TxID(2, 5)))

    there.run(play())
    assert any(record.exc_info for record in caplog.records)


def test_the_loop_goes_on_while_a_long_range_is_read(tmp_path: Path) -> None:
    """A thread that computes holds the interpreter for 5 ms at a time; this one gives it back more often."""
    ledger = ServiceLedger(chunk_size=10_000_000)
    for number in range(3_000):
        ledger.append({"public:records": {b"k": b"%d" % number}})
    ledger.sign()
    there = world(ledger, tmp_path)
    turns = 0

    async def play() -> None:
        nonlocal turns
        while there.history.states(1, 1, 3_000, 60) is None:
            turns += 1
            await asyncio.sleep(0.001)

    there.run(play())
    assert turns > 30
