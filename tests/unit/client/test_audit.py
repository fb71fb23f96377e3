"""Every wrong byte of a ledger is found, at its place, and the audit goes on after it."""

from base64 import b64encode
from pathlib import Path
from random import Random

import pytest

from dataplane.client.audit import Selection, audit_ledger
from dataplane.client.ledger_check import Verdict, check_ledger
from dataplane.crypto.keys import spki_der
from dataplane.kv.tables import PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, UNIT_KEY, dump_json
from dataplane.ledger.chunk import parse_name, read_layout
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.txid import TxID
from tests.support.corruption import corrupted, eventful_ledger, is_located, place_of, places
from tests.support.service_ledger import ServiceLedger, filled_ledger

SEED = 20_260


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return eventful_ledger(90, chunk_size=12_000)


@pytest.fixture
def directory(ledger: ServiceLedger, tmp_path: Path) -> Path:
    return ledger.write_to(tmp_path / "ledger")


def _in_order(directory: Path) -> list[Path]:
    named = [(name.first, path) for path in directory.iterdir() if (name := parse_name(path.name)) is not None]
    return [path for _, path in sorted(named)]


def test_a_good_ledger_with_a_rekey_and_a_recovery(ledger: ServiceLedger, directory: Path) -> None:
    for secrets in (None, ledger.secrets):
        check = check_ledger(Selection([directory]), secrets=secrets, service_cert_pem=ledger.service_cert)
        assert (check.verdict, check.problems) == (Verdict.VERIFIED, [])
    before, after = check.audit.identities
    assert before.endorsed
    assert (after.certificate_pem, after.endorsed) == (ledger.service_cert, False)
    assert check.audit.last_txid == check.audit.last_signed == TxID(ledger.view, len(ledger.entries))


def test_random_bytes_of_every_file(ledger: ServiceLedger, directory: Path) -> None:
    random = Random(SEED)
    for place in places(directory, 50, random):
        with corrupted(place, random):
            check = check_ledger(Selection([directory]), secrets=ledger.secrets if place.secret else None)
            assert is_located(check, place), (str(place), [str(problem) for problem in check.problems])


def test_every_kind_of_byte_of_the_newest_signature(ledger: ServiceLedger, directory: Path) -> None:
    """Nothing covers it but itself."""
    random, path = Random(SEED), _in_order(directory)[-1]
    data = path.read_bytes()
    layout = read_layout(data)
    start, end = layout.bounds(len(layout.positions) - 1)
    for offset in (*range(start, start + 44), *range(start + 44, start + 130, 5), *range(start + 130, end, 101)):
        place = place_of(path, data, offset, is_last=True)
        with corrupted(place, random):
            check = check_ledger(Selection([directory]), secrets=ledger.secrets if place.secret else None)
            assert is_located(check, place), (str(place), [str(problem) for problem in check.problems])


def test_header_and_positions_table_are_told_apart_from_frames(directory: Path) -> None:
    path = _in_order(directory)[0]
    data = path.read_bytes()
    end = read_layout(data).end
    for offset, told, reason in ((1, 0, "the header names"), (end + 8, end + 8, "the table's entry 2")):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x40]) + data[offset + 1 :])
        (problem,) = audit_ledger(Selection([directory])).problems
        assert (problem.file, problem.offset, problem.seqno) == (path, told, None)
        assert reason in problem.reason


def test_several_wrong_entries_are_all_named(directory: Path) -> None:
    paths = _in_order(directory)
    expected = []
    for path, index, within in ((paths[0], 3, 180), (paths[0], 5, 180), (paths[1], 2, 30), (paths[-1], 4, 8)):
        data = bytearray(path.read_bytes())
        start, _ = read_layout(bytes(data)).bounds(index)
        data[start + within] ^= 1
        path.write_bytes(data)
        name = parse_name(path.name)
        assert name is not None
        expected.append((path.name, start, name.first + index))
    found = [
        (problem.file.name, problem.offset, problem.seqno) for problem in audit_ledger(Selection([directory])).problems
    ]
    assert set(expected) <= set(found)
    assert found[0] == expected[0]


def test_problems_are_counted_up_to_a_limit(directory: Path) -> None:
    for path in _in_order(directory):
        data = bytearray(path.read_bytes())
        layout = read_layout(bytes(data))
        for index in range(len(layout.positions)):
            data[layout.bounds(index)[0]] = 9
        path.write_bytes(data)
    assert len(audit_ledger(Selection([directory]), limit=5).problems) == 5


def test_a_ledger_of_another_service_is_told_by_its_certificate(directory: Path) -> None:
    (problem,) = check_ledger(Selection([directory]), service_cert_pem=ServiceLedger().service_cert).problems
    assert "another service" in problem.reason


def test_an_endorsement_that_does_not_hold(tmp_path: Path) -> None:
    ledger = filled_ledger(10)
    ledger.last_signed_root = bytes(32)
    root = ledger.tree.root_at(len(ledger.entries))
    ledger.recover()
    assert ledger.last_signed_root == root
    good = check_ledger(Selection([ledger.write_to(tmp_path / "good")]))
    assert good.verdict is Verdict.VERIFIED

    spoilt = filled_ledger(10)
    stranger = ServiceLedger()
    spoilt.recover()
    assert spoilt.endorsement is not None
    spoilt.endorsement["endorsing_key"] = b64encode(spki_der(stranger.service_key.public_key())).decode()
    spoilt.append({PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT: {UNIT_KEY: dump_json(spoilt.endorsement)}})
    spoilt.sign()
    (problem,) = check_ledger(Selection([spoilt.write_to(tmp_path / "spoilt")])).problems
    assert "not made with the key of the service" in problem.reason
    assert problem.seqno == len(spoilt.entries) - 1


# What is there, and what is left out


def test_unsigned_and_torn_ends_are_incomplete_and_not_corrupt(tmp_path: Path) -> None:
    ledger = filled_ledger(10)
    directory = ledger.write_to(tmp_path / "ledger")
    path = _in_order(directory)[-1]
    whole = path.read_bytes()
    assert check_ledger(Selection([directory])).verdict is Verdict.VERIFIED
    for rest in (b"\x01", b"\x01\x00\xff\x00\x00\x00\x00\x00abc", bytes(500)):
        path.write_bytes(whole + rest)
        check = check_ledger(Selection([directory]))
        assert check.verdict is Verdict.INCOMPLETE
        assert check.audit.torn is not None
        assert (check.audit.torn.offset, check.audit.torn.size) == (len(whole), len(rest))
    path.write_bytes(whole + b"\x77" * 100)
    (problem,) = check_ledger(Selection([directory])).problems
    assert (problem.offset, problem.seqno) == (len(whole), len(ledger.entries) + 1)
    ledger.append({"public:t": {b"k": b"v"}})
    check = check_ledger(Selection([ledger.write_to(tmp_path / "unsigned")]))
    assert check.verdict is Verdict.INCOMPLETE
    assert check.audit.last_signed is not None
    assert check.audit.last_txid == TxID(ledger.view, check.audit.last_signed.seqno + 1)


def test_files_of_a_recovery_are_read_when_asked_for(directory: Path) -> None:
    last = _in_order(directory)[-1]
    renamed = last.rename(last.with_name(f"{last.name}.recovery"))
    ignored = directory / "ledger_7.ignored"
    ignored.write_bytes(b"x")
    without = audit_ledger(Selection([directory]))
    assert set(without.skipped) == {renamed.name, ignored.name}
    assert without.problems == []
    including = audit_ledger(Selection([directory], recovery=True))
    assert including.skipped == [ignored.name]
    assert renamed.name in including.chunks
    assert including.problems == []


def test_chunks_of_several_directories(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first = _in_order(directory)[0]
    (other / first.name).write_bytes(b"never read: the first directory's counts")
    moved = _in_order(directory)[1]
    moved.rename(other / moved.name)
    assert audit_ledger(Selection([directory, other])).problems == []
    assert "should come next" in audit_ledger(Selection([directory])).problems[0].reason


def test_a_file_nothing_can_be_told_of(directory: Path) -> None:
    paths = _in_order(directory)
    paths[1].write_bytes(b"\x08" + bytes(200))
    audit = audit_ledger(Selection([directory]))
    assert audit.problems[0].file == paths[1]
    paths[1].write_bytes(b"")
    assert "shorter than its header" in audit_ledger(Selection([directory]), limit=1).problems[0].reason


def test_after_a_lost_chunk_the_next_signature_tells_the_rest(tmp_path: Path) -> None:
    ledger = filled_ledger(80, chunk_size=8_000)
    directory = ledger.write_to(tmp_path)
    paths = _in_order(directory)
    paths[1].unlink()
    data = bytearray(paths[3].read_bytes())
    start, _ = read_layout(bytes(data)).bounds(2)
    data[start + 9] ^= 1
    paths[3].write_bytes(data)
    lost, altered = audit_ledger(Selection([directory])).problems
    assert (lost.file, lost.offset) == (paths[2], None)
    assert (altered.file, altered.offset) == (paths[3], start)


def test_wrong_secrets_are_told_at_each_entry(ledger: ServiceLedger, directory: Path) -> None:
    audit = audit_ledger(Selection([directory]), secrets=LedgerSecrets({1: bytes(32)}), limit=3)
    assert [problem.seqno for problem in audit.problems] == [1, 2, 3]
