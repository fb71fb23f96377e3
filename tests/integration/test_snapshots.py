"""Real nodes take snapshots; others join from them, without the old ledger, and take over."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.client.verify import verify_ledger
from dataplane.ledger.chunk import parse_name
from dataplane.ledger.snapshot_files import parse_snapshot_name
from dataplane.snapshot_proof import verify_snapshot
from tests.support.ccf_package import available_versions, read_ledger, read_snapshot
from tests.support.nodes import ROOT, NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

LOGGING = ROOT / "samples" / "logging"
SETTINGS = {"snapshots": {"directory": "snapshots", "tx_count": 20}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("snapshots")
    with Service.start(3, directory, open_with=LOGGING, chunk_size="20KB", settings=SETTINGS) as running:
        yield running


def write(service: Service, numbers: range, text: str) -> None:
    session = service.session(service.primary(), "user0")
    for number in numbers:
        body = json.dumps({"id": number, "msg": f"{text} {number}"}).encode()
        answer = session.request("POST", f"/app/log/private?id={number}", body=body)
        assert answer.status == 200, answer.body
    assert answer.txid is not None
    session.wait_for_commit(answer.txid)


def snapshots_of(node: NodeProcess) -> list[Path]:
    """Committed snapshots, oldest first."""
    found = [
        (name, path) for path in (node.directory / "snapshots").iterdir() if (name := parse_snapshot_name(path.name))
    ]
    return [path for _, path in sorted(found)]


def startup_seqno(service: Service, node: NodeProcess) -> int:
    return int(service.session(node).get_json("/node/state")["startup_seqno"])


def test_a_primary_takes_snapshots_and_serves_them(service: Service) -> None:
    for start in range(0, 60, 20):
        write(service, range(start, start + 20), "before")
    primary = service.primary()
    wait_until("three snapshots", lambda: len(snapshots_of(primary)) >= 3, 10)
    for path in snapshots_of(primary):
        verified = verify_snapshot(path.read_bytes(), service.certificate)
        chunk_ends = {name.last for file in primary.ledger.iterdir() if (name := parse_name(file.name))}
        assert verified.snapshot.seqno in chunk_ends
    newest = snapshots_of(primary)[-1]
    for node in service.alive():  # backups lead to the primary
        got = service.session(node).request("GET", "/node/snapshot")
        assert got.headers["x-ms-ccf-snapshot-name"] == newest.name
        assert got.body == newest.read_bytes()


def test_a_fourth_node_joins_from_one_without_the_old_ledger_and_takes_over(service: Service) -> None:
    joiner = service.join(snapshot=True)
    begun = startup_seqno(service, joiner)
    (fetched,) = snapshots_of(joiner)
    assert fetched.name.startswith(f"snapshot_{begun}_")
    assert fetched.read_bytes() == (service.primary().directory / "snapshots" / fetched.name).read_bytes()
    for start in (60, 75):
        write(service, range(start, start + 15), "meanwhile")
    caught_up = service.session(joiner, "user0")
    wait_until("the new node to catch up", lambda: _message(service, joiner, 89) == "meanwhile 89")
    assert [_message(service, joiner, number) for number in (0, 59, 60)] == ["before 0", "before 59", "meanwhile 60"]
    assert min(name.first for path in joiner.ledger.iterdir() if (name := parse_name(path.name))) == begun + 1
    for node in [node for node in service.alive() if node is not joiner][:3]:
        service.remove(node)
    assert service.primary() is joiner
    write(service, range(90, 150), "alone")
    assert caught_up.get_json("/app/log/private?id=0")["msg"] == "before 0"
    wait_until("a snapshot of its own", lambda: len(snapshots_of(joiner)) >= 2, 10)


def test_chunks_and_snapshots_are_accepted_by_the_public_package(service: Service, tmp_path: Path) -> None:
    """The joiner's ledger begins late; together with what others kept it is one ledger from the first transaction."""
    whole = tmp_path / "whole"
    whole.mkdir()
    chunks: dict[str, bytes] = {}
    for node in service.nodes:
        for path in node.ledger.glob("*.committed"):
            content = path.read_bytes()
            assert chunks.setdefault(path.name, content) == content
            shutil.copy(path, whole)
    joiner = service.primary()
    own = {path.name for path in joiner.ledger.glob("*.committed")}
    assert own & {path.name for path in service.nodes[0].ledger.iterdir()}, "nothing to compare"
    for version in available_versions():
        verdict = read_ledger(whole, version)
        assert verdict.accepted, verdict.output
        for path in snapshots_of(joiner):
            assert read_snapshot(path, version), path


def test_the_ledger_before_a_snapshot_is_fetched_where_that_is_asked_for(service: Service) -> None:
    """The primary began late itself; an operator puts the old files beside its own, and others get them there."""
    node = service.join(snapshot=True, fetch_ledger=True)
    assert startup_seqno(service, node) > 0
    names = {path.name for path in service.primary().ledger.glob("*.committed")}
    wait_until("what the primary has", lambda: names <= {path.name for path in node.ledger.iterdir()})
    wait_until("nobody to have the rest", lambda: "cannot be fetched now" in node.log())
    whole = {path.name: path.read_bytes() for path in service.nodes[0].ledger.glob("*.committed")}
    for name, content in whole.items():
        (service.primary().ledger / name).write_bytes(content)
    wait_until("the whole ledger", lambda: "The ledger is complete" in node.log(), 20)
    verify_ledger(node.ledger)


def test_a_node_without_a_snapshot_is_too_old_for_one_that_began_with_one(service: Service) -> None:
    late = service.join(wait=False)
    wait_until("it to be refused", lambda: not late.alive, 20)
    assert late.process.returncode == 1
    assert "StartupSeqnoIsOld" in late.log()


def test_a_damaged_snapshot_is_not_begun_with(service: Service) -> None:
    newest = snapshots_of(service.primary())[-1]
    found = service.directory / "damaged"
    found.mkdir()
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    (found / newest.name).write_bytes(data)
    settings = {"snapshots": {"directory": "snapshots", "read_only_directory": str(found)}}
    refused = service.join(wait=False, settings=settings)
    wait_until("it to stop", lambda: not refused.alive, 20)
    assert refused.process.returncode == 1
    assert f"snapshot {newest.name} cannot be used" in refused.log()


def test_a_launcher_may_copy_ledger_and_snapshots(service: Service) -> None:
    """As CCF's launcher does (drop-in.md 3.6): the open chunk in the main directory, the rest read-only."""
    primary = service.primary()
    copied = service.directory / "copied"
    copied.mkdir()
    for path in primary.ledger.glob("*.committed"):
        shutil.copy(path, copied)
    settings = {
        "ledger": {"directory": "ledger", "read_only_directories": [str(copied)]},
        "snapshots": {
            "directory": "snapshots",
            "tx_count": 20,
            "read_only_directory": str(primary.directory / "snapshots"),
        },
    }
    node = service.join(settings=settings)
    begun = startup_seqno(service, node)
    assert any(path.name.startswith(f"snapshot_{begun}_") for path in snapshots_of(primary))
    assert _message(service, node, 0) == "before 0"


def _message(service: Service, node: NodeProcess, number: int) -> str | None:
    answer = service.session(node, "user0").request("GET", f"/app/log/private?id={number}")
    return str(answer.json()["msg"]) if answer.status == 200 else None
