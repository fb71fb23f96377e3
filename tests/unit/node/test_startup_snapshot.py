"""A joiner's snapshot: fetched piece by piece, found on disk, refused where it does not hold."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from dataplane.config import Address, JoinCommand
from dataplane.crypto.certs import self_signed_service_certificate
from dataplane.kv.tables import dump_json
from dataplane.ledger.snapshot_files import SnapshotFiles, SnapshotName
from dataplane.node import startup_snapshot
from dataplane.node.peer_http import Answer, PeerFailed, Peers
from dataplane.node.startup_snapshot import SnapshotUnusable, choose_snapshot, local_snapshot, state_of
from dataplane.receipt import NotEndorsed
from dataplane.snapshot_proof import VerifiedSnapshot
from tests.simulation.replica_machine import NOT_BEFORE, node
from tests.support.snapshots import SECRETS, SERVICE_CERT, snapshot_files
from tests.support.snapshots import SnapshotFiles as MadeFiles

TARGET, PRIMARY = Address("10.0.0.1", 1), Address("10.0.0.2", 2)
NAME = SnapshotName(5, 6)
PATH = f"/node/snapshot/{NAME}"
OTHER_SERVICE = self_signed_service_certificate(node(3).key, "CN=CCF Service", 1, NOT_BEFORE, 365)


@pytest.fixture(scope="module")
def made() -> MadeFiles:
    return snapshot_files()


@dataclass
class Service:
    """A backup that points to a primary, which serves one file in small pieces."""

    data: bytes
    pieces: int = 100
    inclusive: bool = False
    failures: int = 0  # how many requests fail first
    asked: list[tuple[Address, str]] = field(default_factory=list)
    service_certificate: str = SERVICE_CERT
    change: Callable[[Answer], Answer] = lambda answer: answer
    previous_identity: Answer = Answer(404, {}, b"")  # noqa: RUF009 - a value

    get = Peers.get

    async def ask(
        self,
        target: Address,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 0,
    ) -> Answer:
        self.asked.append((target, path))
        if len(self.asked) <= self.failures:
            raise PeerFailed("cannot reach it")
        page, _, query = path.partition("?")
        if page == "/node/service/previous_identity":
            return self.previous_identity
        if target == TARGET:
            return Answer(308, {"location": f"https://{PRIMARY}{path}"}, b"")
        if page == "/node/snapshot":
            if int(query.removeprefix("since=")) >= NAME.seqno:
                return Answer(404, {}, b"")
            return Answer(308, {"location": PATH}, b"")
        assert headers is not None
        start = int(headers["range"].removeprefix("bytes=").partition("-")[0])
        part = self.data[start : start + self.pieces]
        last = start + len(part) - self.inclusive
        return self.change(Answer(206, {"content-range": f"bytes {start}-{last}/{len(self.data)}"}, part))


def command(**changes: Any) -> JoinCommand:
    parts = {"retry_timeout_ms": 1, "follow_redirect": True, "fetch_snapshot_retry_interval_ms": 0}
    return JoinCommand(TARGET, **parts | changes)


def choose(service: Service, files: SnapshotFiles, **changes: Any) -> VerifiedSnapshot | None:
    return asyncio.run(choose_snapshot(command(**changes), cast(Peers, service), files))


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("pieces", [100, 333, 1 << 20])
def test_it_is_fetched_verified_and_kept(tmp_path: Path, made: MadeFiles, inclusive: bool, pieces: int) -> None:
    service = Service(made.with_json, pieces, inclusive)
    files = SnapshotFiles(tmp_path)
    found = choose(service, files)
    assert found is not None
    assert (found.snapshot.seqno, found.evidence) == (5, made.evidence)
    assert (tmp_path / str(NAME)).read_bytes() == made.with_json
    assert service.asked[:3] == [
        (TARGET, "/node/snapshot?since=0"),
        (PRIMARY, "/node/snapshot?since=0"),
        (PRIMARY, PATH),
    ]
    state = state_of(found, SECRETS)
    assert dict(state.tables["records"].rows)[b"1"] == (3, b"value")


def test_a_whole_answer_is_taken_as_well(tmp_path: Path, made: MadeFiles) -> None:
    service = Service(made.with_cose, 1 << 20, change=lambda answer: Answer(200, {}, answer.body))
    assert choose(service, SnapshotFiles(tmp_path)) is not None


def test_failures_are_tried_again(tmp_path: Path, made: MadeFiles, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose(Service(made.with_json, failures=2), SnapshotFiles(tmp_path)) is not None
    assert [text for text in caplog.messages if text.startswith("Fetching")] == [
        f"Fetching snapshot from {TARGET} (attempt {attempt}/3)" for attempt in (1, 2, 3)
    ]


def test_and_given_up_in_the_end(tmp_path: Path, made: MadeFiles, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose(Service(made.with_json, failures=99), SnapshotFiles(tmp_path)) is None
    assert "Exceeded maximum snapshot fetch retries (3), giving up" in caplog.messages
    assert "No snapshot found: Node will replay all historical transactions" in caplog.messages


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: Answer(206, answer.headers, answer.body[:-1] + b"?"),
        lambda answer: Answer(206, {}, answer.body),
        lambda answer: Answer(206, {"content-range": "bytes 7-9/100"}, answer.body),
        lambda answer: Answer(206, answer.headers, b""),
        lambda answer: Answer(500, answer.headers, answer.body),
        lambda answer: Answer(308, {"location": "ftp://elsewhere"}, b""),
        lambda answer: Answer(308, {"location": PATH}, b""),  # for ever
    ],
)
def test_a_bad_offer_is_neither_used_nor_kept(
    tmp_path: Path, made: MadeFiles, change: Callable[[Answer], Answer]
) -> None:
    assert choose(Service(made.with_json, 1 << 20, change=change), SnapshotFiles(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_too_large_is_not_fetched(tmp_path: Path, made: MadeFiles) -> None:
    service = Service(made.with_json)
    assert choose(service, SnapshotFiles(tmp_path), fetch_snapshot_max_size=200, fetch_snapshot_max_attempts=1) is None
    assert len(service.asked) == 3


def test_a_service_without_a_newer_one_is_asked_once(tmp_path: Path, made: MadeFiles) -> None:
    files = SnapshotFiles(tmp_path)
    files.write(NAME, [made.with_json])
    service = Service(b"")
    found = choose(service, files)
    assert found is not None
    assert found.snapshot.seqno == 5
    assert [path for _, path in service.asked] == ["/node/snapshot?since=5"] * 2


def test_without_fetching_the_newest_on_disk_is_used(tmp_path: Path, made: MadeFiles) -> None:
    service = Service(made.with_json)
    files = SnapshotFiles(tmp_path / "main", [tmp_path / "other"])
    SnapshotFiles(tmp_path / "other").write(NAME, [made.with_json])
    found = choose(service, files, fetch_recent_snapshot=False)
    assert found is not None
    assert service.asked == []


def test_an_empty_file_is_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "snapshot_1000_1500.committed").touch()
    with caplog.at_level(logging.INFO):
        assert local_snapshot(SnapshotFiles(tmp_path), SERVICE_CERT) is None
    assert "Ignoring empty snapshot file snapshot_1000_1500.committed" in caplog.messages


@pytest.mark.parametrize(
    "damage", [lambda data: bytes(64), lambda data: data[:-9], lambda data: b"\1" + data[1:99] + b"?" + data[100:]]
)
def test_a_damaged_file_stops_the_start(tmp_path: Path, made: MadeFiles, damage: Callable[[bytes], bytes]) -> None:
    (tmp_path / str(NAME)).write_bytes(damage(made.with_json))
    with pytest.raises(SnapshotUnusable, match=str(NAME)):
        choose(Service(b"", failures=99), SnapshotFiles(tmp_path))


def test_a_file_under_another_name_is_not_what_it_says(tmp_path: Path, made: MadeFiles) -> None:
    (tmp_path / "snapshot_500_600.committed").write_bytes(made.with_json)
    with pytest.raises(SnapshotUnusable, match=r"is one at 5, proven by 2\.6"):
        local_snapshot(SnapshotFiles(tmp_path), SERVICE_CERT)


def test_a_snapshot_of_another_service_says_so(tmp_path: Path, made: MadeFiles) -> None:
    (tmp_path / str(NAME)).write_bytes(made.with_json)
    with pytest.raises(SnapshotUnusable) as caught:
        local_snapshot(SnapshotFiles(tmp_path), node(1).cert)
    assert isinstance(caught.value.__cause__, NotEndorsed)


@pytest.mark.parametrize("fetch", [True, False])
def test_the_service_before_may_vouch_for_it_if_the_target_says_who_that_was(
    tmp_path: Path, made: MadeFiles, fetch: bool
) -> None:
    """A service that recovers has only the snapshots of the one before it."""
    said = Answer(200, {}, dump_json({"previous_service_identity": SERVICE_CERT}))
    service = Service(made.with_json, service_certificate=OTHER_SERVICE, previous_identity=said)
    files = SnapshotFiles(tmp_path)
    if not fetch:
        files.write(NAME, [made.with_json])
    assert choose(service, files, fetch_recent_snapshot=fetch) is not None


@pytest.mark.parametrize(
    "said",
    [
        Answer(404, {}, b""),
        Answer(200, {}, b"["),
        Answer(200, {}, b"[]"),
        Answer(200, {}, b"{}"),
        Answer(200, {}, dump_json({"previous_service_identity": "no certificate"})),
        Answer(200, {}, dump_json({"previous_service_identity": OTHER_SERVICE})),
    ],
)
def test_nobody_else_may(tmp_path: Path, made: MadeFiles, said: Answer) -> None:
    files = SnapshotFiles(tmp_path)
    files.write(NAME, [made.with_json])
    service = Service(b"", service_certificate=OTHER_SERVICE, previous_identity=said)
    with pytest.raises(SnapshotUnusable):
        choose(service, files, fetch_recent_snapshot=False)


def test_a_disk_that_cannot_keep_it_does_not_stop_the_start(
    tmp_path: Path, made: MadeFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    files = SnapshotFiles(tmp_path)
    monkeypatch.setattr(files, "write", full)
    assert choose(Service(made.with_json), files) is not None
    assert "cannot be kept" in caplog.text


def test_secrets_that_do_not_open_it(made: MadeFiles) -> None:
    verified = startup_snapshot.verify_snapshot(made.with_json, SERVICE_CERT)
    with pytest.raises(SnapshotUnusable, match="cannot be read"):
        state_of(verified, type(SECRETS)({1: bytes(32)}))
