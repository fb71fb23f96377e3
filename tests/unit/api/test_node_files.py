"""Downloads of snapshots and ledger chunks: where, which bytes, and what is refused (node-api.md 2.2.1, 2.2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any, cast

import pytest

from dataplane.api.node_files import endpoints
from dataplane.api.ranges import RangeRule
from dataplane.apps.endpoint import Context, Request, Response
from dataplane.errors import CcfError
from dataplane.kv.store import Store
from dataplane.kv.tables import NODES_INFO, dump_json
from dataplane.ledger.entry import EntryFlags
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.snapshot_files import SnapshotFiles, SnapshotName
from tests.support.frames import frame

INTERFACES = {name: {"published_address": f"{name}.self:1"} for name in ("first", "second")}
DATA = bytes(range(100))


@dataclass
class Place:
    """A node `b` among `a`, `b`, `c`."""

    node_id: str = "b"
    is_primary: bool = True
    primary_id: str | None = "b"
    rpc_interfaces: Mapping[str, Any] = field(default_factory=lambda: INTERFACES)


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerFiles:
    """Entries 11 to 14: one committed chunk, one that is complete and one that is open."""
    ledger = LedgerFiles(tmp_path / "ledger")
    ledger.begin_after(10)
    for seqno, flag in enumerate((0, EntryFlags.CHUNK_AFTER, EntryFlags.CHUNK_AFTER, 0), 11):
        ledger.append(frame(seqno, flags=flag), seqno)
    ledger.sync()
    ledger.commit(12)
    return ledger


@pytest.fixture
def snapshots(tmp_path: Path) -> SnapshotFiles:
    files = SnapshotFiles(tmp_path / "snapshots")
    files.write(SnapshotName(10, 11), [DATA])
    return files


class Client:
    """Calls the endpoints of one node."""

    def __init__(
        self, ledger: LedgerFiles, snapshots: SnapshotFiles, place: Place, rule: RangeRule = RangeRule.END_EXCLUDED
    ) -> None:
        self._endpoints = {(e.method, e.path): e for e in endpoints(place, ledger, snapshots, rule)}
        self._store = Store()
        nodes = {
            node.encode(): dump_json(
                {
                    "status": status,
                    "rpc_interfaces": {name: {"published_address": f"{name}.{node}:1"} for name in ("first", "second")},
                }
            )
            for node, status in {"a": "Trusted", "b": "Trusted", "c": "Trusted", "d": "Retired"}.items()
        }
        self._store.apply(1, {NODES_INFO: dict(nodes)})

    def call(self, url: str, verb: str = "GET", interface: str = "second", **headers: str) -> Response:
        path, _, query = url.partition("?")
        _, kind, *name = path.removeprefix("/node").split("/")
        template = {"snapshot": "/{snapshot_name}", "ledger-chunk": "/{chunk_name}"}[kind] if name else ""
        params = {template[2:-1]: name[0]} if name else {}
        fields = {key.replace("_", "-"): value for key, value in headers.items()}
        request = Request(verb, url, path, query, fields, b"", params, interface=interface)
        return self._endpoints[verb, f"/{kind}{template}"].run(
            Context(self._store.begin(), request, None, cast(Any, None))
        )

    def refusal(self, url: str, **headers: str) -> tuple[int, str, str]:
        with pytest.raises(CcfError) as caught:
            self.call(url, **headers)
        return caught.value.status, caught.value.code, str(caught.value)


@pytest.fixture
def client(ledger: LedgerFiles, snapshots: SnapshotFiles) -> Client:
    return Client(ledger, snapshots, Place())


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["", "?since=0", "?since=9"])
def test_the_newest_snapshot_is_pointed_to(client: Client, verb: str, query: str) -> None:
    answer = client.call(f"/node/snapshot{query}", verb)
    assert answer.status == 308
    assert answer.headers["location"] == "https://second.self:1/node/snapshot/snapshot_10_11.committed"


@pytest.mark.parametrize("since", [10, 11, 10**30])
def test_none_is_newer(client: Client, since: int) -> None:
    assert client.refusal(f"/node/snapshot?since={since}")[:2] == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    "url", ["/node/snapshot?since=x", "/node/snapshot?since=-1", "/node/ledger-chunk", "/node/ledger-chunk?since="]
)
def test_what_is_no_seqno_is_refused(client: Client, url: str) -> None:
    assert client.refusal(url)[:2] == (400, "InvalidQueryParameterValue")


def test_a_backup_points_to_the_primary(ledger: LedgerFiles, snapshots: SnapshotFiles) -> None:
    backup = Client(ledger, snapshots, Place(is_primary=False, primary_id="c"))
    answer = backup.call("/node/snapshot?since=3", interface="first")
    assert (answer.status, answer.headers["location"]) == (308, "https://first.c:1/node/snapshot?since=3")
    assert b"NodeCannotHandleRequest" in answer.body
    lonely = Client(ledger, snapshots, Place(is_primary=False, primary_id=None))
    assert lonely.call("/node/snapshot").headers["location"].endswith("/snapshot_10_11.committed")


def test_head_tells_size_and_name(client: Client) -> None:
    answer = client.call("/node/snapshot/snapshot_10_11.committed", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "100"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-ms-ccf-snapshot-name"] == "snapshot_10_11.committed"


@pytest.mark.parametrize(
    ("wanted", "expected", "told"),
    [
        (None, DATA, "bytes 0-100/100"),
        ("0-", DATA, "bytes 0-100/100"),
        ("0-100", DATA, "bytes 0-100/100"),
        ("0-33", DATA[:33], "bytes 0-33/100"),
        ("33-33", b"", "bytes 33-33/100"),
        ("33-66", DATA[33:66], "bytes 33-66/100"),
        ("66-1000", DATA[66:], "bytes 66-100/100"),
        ("100-", b"", "bytes 100-100/100"),
        ("-33", DATA[-33:], "bytes 67-100/100"),
        ("-1000", DATA, "bytes 0-100/100"),
    ],
)
def test_snapshot_ranges_exclude_their_end(client: Client, wanted: str | None, expected: bytes, told: str) -> None:
    headers = {} if wanted is None else {"range": f"bytes={wanted}"}
    answer = client.call("/node/snapshot/snapshot_10_11.committed", **headers)
    assert (answer.status, answer.body) == (206, expected)
    assert answer.headers["content-range"] == told
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("wanted", "status", "expected", "told"),
    [
        (None, 200, DATA, None),
        ("0-", 206, DATA, "bytes 0-99/100"),
        ("0-0", 206, DATA[:1], "bytes 0-0/100"),
        ("33-66", 206, DATA[33:67], "bytes 33-66/100"),
        ("-1", 206, DATA[-1:], "bytes 99-99/100"),
    ],
)
def test_the_rule_of_released_versions_is_one_switch_away(
    ledger: LedgerFiles, snapshots: SnapshotFiles, wanted: str | None, status: int, expected: bytes, told: str | None
) -> None:
    client = Client(ledger, snapshots, Place(), RangeRule.RFC_9110)
    headers = {} if wanted is None else {"range": f"bytes={wanted}"}
    answer = client.call("/node/snapshot/snapshot_10_11.committed", **headers)
    assert (answer.status, answer.body, answer.headers.get("content-range")) == (status, expected, told)


@pytest.mark.parametrize(
    ("wanted", "fragment"),
    [
        ("bytes=3-foo", "Unable to parse end of range value foo"),
        ("bytes=foo-foo", "Unable to parse start of range value foo"),
        ("bytes=foo-6", "Unable to parse start of range value foo"),
        ("bytes=6-3", "out of order"),
        ("bytes=-1-5", "Invalid format"),
        ("bytes=-", "Invalid range"),
        ("bytes=-foo", "Unable to parse end of range offset value foo"),
        ("bytes=", "Invalid format"),
        ("bytes", "Invalid format"),
        ("lines=1-2", "bytes"),
        ("bytes=1-2,4-5", "Multiple ranges"),
        ("bytes=101-", "larger than total file size"),
        ("bytes=٣-5", "Unable to parse start of range value"),
    ],
)
@pytest.mark.parametrize("rule", list(RangeRule))
def test_ranges_that_make_no_sense(
    ledger: LedgerFiles, snapshots: SnapshotFiles, rule: RangeRule, wanted: str, fragment: str
) -> None:
    client = Client(ledger, snapshots, Place(), rule)
    status, code, text = client.refusal("/node/snapshot/snapshot_10_11.committed", range=wanted)
    assert (status, code) == (400, "InvalidHeaderValue")
    assert fragment in text


@pytest.mark.parametrize(
    "url",
    [
        "/node/snapshot/snapshot_10_12.committed",
        "/node/snapshot/snapshot_10_11",
        "/node/snapshot/..%2Fledger",
        "/node/ledger-chunk/ledger_13",
        "/node/ledger-chunk/ledger_11-13.committed",
        "/node/ledger-chunk/..%2Fconfig.json",
    ],
)
def test_unknown_names(client: Client, url: str) -> None:
    assert client.refusal(url)[:2] == (404, "ResourceNotFound")


def test_a_chunk_is_found_by_any_seqno_it_holds(client: Client) -> None:
    for seqno in (11, 12):
        answer = client.call(f"/node/ledger-chunk?since={seqno}")
        assert (answer.status, answer.headers["location"]) == (308, "/node/ledger-chunk/ledger_11-12.committed")
    for seqno in (13, 14, 15, 99):
        assert client.refusal(f"/node/ledger-chunk?since={seqno}")[:2] == (404, "ResourceNotFound")


@pytest.mark.parametrize(("node_id", "following"), [("b", "c"), ("c", "a"), ("a", "b")])
def test_what_was_before_this_ledger_is_asked_of_the_next_node(
    ledger: LedgerFiles, snapshots: SnapshotFiles, node_id: str, following: str
) -> None:
    client = Client(ledger, snapshots, Place(node_id=node_id, primary_id=node_id))
    answer = client.call("/node/ledger-chunk?since=10")
    assert answer.headers["location"] == f"https://second.{following}:1/node/ledger-chunk?since=10"


def test_a_backup_that_lags_points_to_the_primary(ledger: LedgerFiles, snapshots: SnapshotFiles) -> None:
    backup = Client(ledger, snapshots, Place(is_primary=False, primary_id="a"))
    answer = backup.call("/node/ledger-chunk?since=13", "HEAD")
    assert answer.headers["location"] == "https://second.a:1/node/ledger-chunk?since=13"


def test_a_chunk_is_sent_with_inclusive_ranges_and_its_digest(client: Client, tmp_path: Path) -> None:
    url, name = "/node/ledger-chunk/ledger_11-12.committed", "ledger_11-12.committed"
    content = (tmp_path / "ledger" / name).read_bytes()
    answer = client.call(url)
    assert (answer.status, answer.body) == (200, content)
    assert answer.headers["x-ms-ccf-ledger-chunk-name"] == name
    assert answer.headers["etag"] == f'"sha-256:{sha256(content).hexdigest()}"'
    part = client.call(url, range="bytes=0-7")
    assert (part.status, part.body) == (206, content[:8])
    assert part.headers["content-range"] == f"bytes 0-7/{len(content)}"
    assert client.call(url, "HEAD").headers["content-length"] == str(len(content))


@pytest.mark.parametrize("form", ["*", '"sha-256:{256}"', '"other", W/"sha-512:{512}"'])
def test_what_the_client_has_is_not_sent_again(client: Client, tmp_path: Path, form: str) -> None:
    content = (tmp_path / "ledger" / "ledger_11-12.committed").read_bytes()
    tag = form.replace("{256}", sha256(content).hexdigest()).replace("{512}", sha512(content).hexdigest())
    answer = client.call("/node/ledger-chunk/ledger_11-12.committed", if_none_match=tag)
    assert (answer.status, answer.body) == (304, b"")
    assert client.call("/node/ledger-chunk/ledger_11-12.committed", if_none_match='"sha-256:00"').status == 200


def test_an_interface_the_other_node_lacks(ledger: LedgerFiles, snapshots: SnapshotFiles) -> None:
    backup = Client(ledger, snapshots, Place(is_primary=False, primary_id="c"))
    with pytest.raises(CcfError, match="no interface named third"):
        backup.call("/node/snapshot", interface="third")
