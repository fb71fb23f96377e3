"""Redirecting and forwarding interfaces, decided per endpoint (node-api.md 1.4)."""

import json
from collections.abc import Callable

import pytest

from dataplane.api.pipeline import InterfaceRules
from dataplane.apps.endpoint import Context, Endpoint, Forwarding, Mode, Redirection, Response
from dataplane.redirections import NodeByRole, Redirections, Role, StaticAddress
from tests.support.pipeline import Client, FakeCore, add_node

BY_ROLE = InterfaceRules("main", redirections=Redirections())
STATIC = InterfaceRules(
    "main", redirections=Redirections(StaticAddress("primary.example.test"), StaticAddress("backup.example.test:7"))
)


def here(context: Context) -> Response:
    return Response(200, b"here")


def write(context: Context) -> Response:
    context.tx.put("records", b"key", b"value")
    return Response(200, b"written")


ENDPOINTS = [
    Endpoint("POST", "/write", write, mode=Mode.READ_WRITE),
    Endpoint("GET", "/read", here),
    Endpoint("GET", "/never", here, forwarding=Forwarding.NEVER),
    Endpoint("GET", "/sometimes", here, forwarding=Forwarding.SOMETIMES),
    Endpoint("GET", "/backup", here, redirection=Redirection.TO_BACKUP),
    Endpoint("POST", "/local", write, mode=Mode.READ_WRITE, redirection=Redirection.NONE),
]


@pytest.fixture
def core() -> FakeCore:
    made = FakeCore()
    add_node(made, "n0", "127.0.0.1:1000")
    add_node(made, "n1", "127.0.0.1:1001")
    add_node(made, "n2", "127.0.0.1:1002", status="Pending")
    return made


@pytest.fixture
def client(core: FakeCore) -> Callable[[InterfaceRules], Client]:
    return lambda rules: Client(core, ENDPOINTS, rules)


def asked(client: Client, method: str, url: str) -> Response:
    answer = client.request(method, url)
    assert answer is not None, "the request was forwarded"
    return answer


def code(answer: Response) -> str:
    return str(json.loads(answer.body)["error"]["code"])


def test_a_backup_redirects_writes_and_keeps_the_query(core: FakeCore, client: Callable[..., Client]) -> None:
    core.node_id = "n1"
    answer = asked(client(BY_ROLE), "POST", "/app/write?id=4%202")
    assert (answer.status, answer.headers["location"]) == (307, "https://127.0.0.1:1000/app/write?id=4%202")
    assert not core.forwarded


@pytest.mark.parametrize(("path", "status"), [("/read", 200), ("/never", 200), ("/sometimes", 307), ("/backup", 200)])
def test_reads_on_a_backup(core: FakeCore, client: Callable[..., Client], path: str, status: int) -> None:
    core.node_id = "n1"
    assert asked(client(BY_ROLE), "GET", path).status == status


def test_the_primary_redirects_only_to_backups(core: FakeCore, client: Callable[..., Client]) -> None:
    session = client(BY_ROLE)
    assert asked(session, "POST", "/write").status == 200
    assert asked(session, "GET", "/backup").headers["location"] == "https://127.0.0.1:1001/backup"


def test_static_addresses_are_taken_as_they_are(core: FakeCore, client: Callable[..., Client]) -> None:
    assert asked(client(STATIC), "GET", "/backup?x=1").headers["location"] == "https://backup.example.test:7/backup?x=1"
    core.node_id = "n1"
    assert asked(client(STATIC), "POST", "/write").headers["location"] == "https://primary.example.test/write"


def test_a_strategy_of_none_runs_here_and_cannot_write_on_a_backup(
    core: FakeCore, client: Callable[..., Client]
) -> None:
    core.node_id = "n1"
    answer = asked(client(BY_ROLE), "POST", "/local")
    assert (answer.status, code(answer)) == (503, "TransactionReplicationFailed")


def test_an_unknown_primary(core: FakeCore, client: Callable[..., Client]) -> None:
    core.node_id, core.primary_id = "n1", None
    answer = asked(client(BY_ROLE), "POST", "/write")
    assert (answer.status, code(answer)) == (503, "PrimaryNotFound")
    assert asked(client(STATIC), "POST", "/write").status == 307


def test_a_primary_that_is_no_longer_trusted_is_not_found(core: FakeCore, client: Callable[..., Client]) -> None:
    core.node_id = "n1"
    add_node(core, "n0", "127.0.0.1:1000", status="Retired")
    assert code(asked(client(BY_ROLE), "POST", "/write")) == "PrimaryNotFound"


def test_no_backup_or_none_with_the_interface(core: FakeCore, client: Callable[..., Client]) -> None:
    inner = Redirections(to_backup=NodeByRole(Role.BACKUP, "inner"))
    assert code(asked(client(InterfaceRules("main", redirections=inner)), "GET", "/backup")) == "BackupNotFound"
    add_node(core, "n1", "127.0.0.1:2001", interface="inner")
    answer = asked(client(InterfaceRules("main", redirections=inner)), "GET", "/backup")
    assert answer.headers["location"] == "https://127.0.0.1:2001/backup"
    add_node(core, "n1", "127.0.0.1:1001", status="Retired")
    assert code(asked(client(BY_ROLE), "GET", "/backup")) == "BackupNotFound"


def test_a_forwarding_interface_never_redirects(core: FakeCore, client: Callable[..., Client]) -> None:
    core.node_id = "n1"
    session = client(InterfaceRules("main"))
    assert asked(session, "GET", "/sometimes").body == b"here"
    assert session.request("POST", "/write") is None
    assert [request.url for request, _ in core.forwarded] == ["/write"]


def test_a_session_that_forwarded_goes_on_forwarding_what_may_be(core: FakeCore, client: Callable[..., Client]) -> None:
    core.node_id = "n1"
    session = client(InterfaceRules("main"))
    session.request("POST", "/write")
    assert session.request("GET", "/read") is None
    assert asked(session, "GET", "/never").body == b"here"
    assert asked(client(InterfaceRules("main")), "GET", "/read").body == b"here"


def test_a_session_ends_when_it_would_forward_in_another_view(core: FakeCore, client: Callable[..., Client]) -> None:
    core.node_id = "n1"
    session = client(InterfaceRules("main"))
    assert asked(session, "GET", "/read").status == 200
    core.current_view += 1
    answer = asked(session, "POST", "/write")
    assert (answer.status, code(answer)) == (500, "SessionConsistencyLost")
    assert session.session.closing
    assert not core.forwarded
