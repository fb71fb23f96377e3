"""A ledger that begins late, and snapshots: which are good, and where the check begins."""

from pathlib import Path
from shutil import copyfile, copytree

import pytest

from dataplane.client.audit import Selection
from dataplane.client.ledger_check import Verdict, check_ledger, read_secrets
from dataplane.ledger.chunk import parse_name
from tests.support.service_ledger import filled_ledger
from tests.support.vectors import require_vectors


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """The real ledger with snapshots among the vectors; it holds three recoveries."""
    return Path(copytree(require_vectors() / "ccf-services" / "sgx_service", tmp_path / "service"))


def _drop_before(ledger: Path, seqno: int) -> None:
    for path in ledger.iterdir():
        name = parse_name(path.name)
        if name is not None and name.last is not None and name.last < seqno:
            path.unlink()


def test_snapshots_of_a_real_service(real: Path) -> None:
    check = check_ledger(Selection([real / "ledger"]), snapshots=[real / "snapshots"])
    assert (check.verdict, check.begins_with) == (Verdict.VERIFIED, None)
    assert check.snapshots == ["snapshot_99_100.committed", "snapshot_138_139.committed"]


def test_a_ledger_that_begins_late_follows_a_snapshot(real: Path) -> None:
    whole = check_ledger(Selection([real / "ledger"])).audit
    _drop_before(real / "ledger", 99)
    without = check_ledger(Selection([real / "ledger"]))
    assert without.verdict is Verdict.CORRUPT
    assert "no snapshot at" in without.problems[0].reason
    check = check_ledger(Selection([real / "ledger"]), snapshots=[real / "snapshots"])
    assert check.problems == []
    assert check.begins_with == "snapshot_99_100.committed"
    assert check.audit.last_txid == whole.last_txid
    assert check.audit.identities[-1].certificate_pem == whole.identities[-1].certificate_pem
    assert check.audit.first_seqno == 100 or check.audit.uncovered is not None


def test_a_changed_byte_after_the_snapshot_is_found(real: Path) -> None:
    _drop_before(real / "ledger", 99)
    path = max((real / "ledger").glob("*.committed"), key=lambda file: int(file.name.split("-")[1].split(".")[0]))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    check = check_ledger(Selection([real / "ledger"]), snapshots=[real / "snapshots"])
    assert check.problems[0].file == path


@pytest.mark.parametrize("place", [200, 2_000, -50])
def test_a_changed_snapshot_is_told(real: Path, place: int) -> None:
    path = real / "snapshots" / "snapshot_138_139.committed"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    check = check_ledger(Selection([real / "ledger"]), snapshots=[real / "snapshots"])
    (problem,) = check.problems
    assert (problem.file, problem.seqno) == (path, 138)
    assert check.snapshots == ["snapshot_99_100.committed"]


def test_a_snapshot_under_another_name_is_told(real: Path) -> None:
    snapshots = real / "snapshots"
    copyfile(snapshots / "snapshot_138_139.committed", snapshots / "snapshot_138_140.committed")
    copyfile(snapshots / "snapshot_138_139.committed", snapshots / "snapshot_99_139.committed")
    problems = check_ledger(Selection([real / "ledger"]), snapshots=[snapshots]).problems
    assert {problem.file.name for problem in problems} == {"snapshot_138_140.committed", "snapshot_99_139.committed"}


def test_a_snapshot_later_than_the_ledger_needs_its_receipt(real: Path) -> None:
    for path in (real / "ledger").iterdir():
        name = parse_name(path.name)
        if name is not None and name.first > 120:
            path.unlink()
    check = check_ledger(Selection([real / "ledger"]), snapshots=[real / "snapshots"])
    assert "snapshot_138_139.committed" in check.snapshots


def test_an_empty_directory(tmp_path: Path) -> None:
    check = check_ledger(Selection([tmp_path]))
    assert (check.verdict, check.audit.last_txid) == (Verdict.VERIFIED, None)
    cert = filled_ledger(1).service_cert
    (problem,) = check_ledger(Selection([tmp_path]), service_cert_pem=cert).problems
    assert problem.file == tmp_path
    with pytest.raises(ValueError, match="certificate"):
        check_ledger(Selection([tmp_path]), service_cert_pem="garbage")


def test_secrets_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text('{"1": "%s"}' % ("A" * 43 + "="))
    assert dict(read_secrets(path)) == {1: bytes(32)}
    for text in ("", "[]", '{"x": "AAAA"}', '{"1": 5}', '{"1": "c2VjcmV0"}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="does not hold ledger secrets") as failure:
            read_secrets(path)
        assert "c2VjcmV0" not in str(failure.value)
