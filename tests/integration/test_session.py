"""Sessions against a real HTTPS server: whom they trust, how they follow, wait and give up."""

import json
from pathlib import Path

import pytest

from dataplane.client.session import ServiceError, Session, TransactionInvalid, Unreachable, WaitTimeout
from dataplane.client.signing import Member, file_signer, new_identity
from dataplane.crypto.cose import decode_sign1, verify_sign1
from dataplane.txid import TxID
from tests.support.tls_server import Answer, Asked, ServiceIdentity, serving

pytestmark = pytest.mark.ci

OK: Answer = (200, {"x-ms-ccf-transaction-id": "2.7"}, b'{"a":1}')


@pytest.fixture(scope="module")
def service() -> ServiceIdentity:
    return ServiceIdentity()


def test_it_trusts_nodes_the_service_endorsed(service: ServiceIdentity, tmp_path: Path) -> None:
    key, certificate = service.node("iPAddress:127.0.0.1")
    with serving(lambda _: OK, certificate, key, tmp_path) as url, Session(url, service.certificate) as session:
        response = session.request("GET", "/app/x")
    assert (response.status, response.txid, response.json()) == (200, TxID(2, 7), {"a": 1})


def test_it_refuses_everyone_else(service: ServiceIdentity, tmp_path: Path) -> None:
    impostor = ServiceIdentity()
    cases = {
        "another service": impostor.node("iPAddress:127.0.0.1"),
        "another address": service.node("iPAddress:127.0.0.2"),
        "expired": service.node("iPAddress:127.0.0.1", age_days=2),
    }
    for case, (key, certificate) in cases.items():
        asked: list[Asked] = []
        with (
            serving(lambda request, asked=asked: (asked.append(request), OK)[1], certificate, key, tmp_path) as url,
            Session(url, service.certificate) as session,
            pytest.raises(Unreachable),
        ):
            session.request("GET", "/app/x")
        assert asked == [], case


def test_plain_http_is_refused(service: ServiceIdentity) -> None:
    with pytest.raises(ValueError, match="no https address"):
        Session("http://127.0.0.1:1", service.certificate)


def test_an_absent_server_is_unreachable(service: ServiceIdentity) -> None:
    with Session("https://127.0.0.1:1", service.certificate) as session, pytest.raises(Unreachable):
        session.request("GET", "/node/state")


def test_writes_follow_to_the_primary(service: ServiceIdentity, tmp_path: Path) -> None:
    key, certificate = service.node("iPAddress:127.0.0.1")
    got: list[Asked] = []

    def primary(asked: Asked) -> Answer:
        got.append(asked)
        return OK

    with serving(primary, certificate, key, tmp_path) as to:

        def backup(asked: Asked) -> Answer:
            return 307, {"location": to + asked.path}, b""

        with serving(backup, certificate, key, tmp_path) as url, Session(url, service.certificate) as session:
            response = session.request("POST", "/app/x?y=1", json_body={"v": 2})
    assert response.status == 200
    assert [(asked.method, asked.path, asked.body) for asked in got] == [("POST", "/app/x?y=1", b'{"v": 2}')]


def test_endless_and_downgrading_redirections_end(service: ServiceIdentity, tmp_path: Path) -> None:
    key, certificate = service.node("iPAddress:127.0.0.1")
    for target in ("/again", "http://127.0.0.1:1/x"):
        answer: Answer = (308, {"location": target}, b"")
        with (
            serving(lambda _, answer=answer: answer, certificate, key, tmp_path) as url,
            Session(url, service.certificate) as session,
            pytest.raises(Unreachable, match="redirected"),
        ):
            session.request("GET", "/x")


def test_waiting_for_commit(service: ServiceIdentity, tmp_path: Path) -> None:
    key, certificate = service.node("iPAddress:127.0.0.1")
    statuses = iter(["Unknown", "Pending", "Committed", "Pending", "Invalid"] + ["Pending"] * 100)

    def answer(asked: Asked) -> Answer:
        assert asked.path == "/node/tx?transaction_id=2.7"
        return 200, {}, json.dumps({"transaction_id": "2.7", "status": next(statuses)}).encode()

    with serving(answer, certificate, key, tmp_path) as url, Session(url, service.certificate) as session:
        session.wait_for_commit(TxID(2, 7))
        with pytest.raises(TransactionInvalid):
            session.wait_for_commit(TxID(2, 7))
        with pytest.raises(WaitTimeout, match=r"2\.7 was not committed within 0\.1 s"):
            session.wait_for_commit(TxID(2, 7), timeout_s=0.1)


def test_receipts_are_waited_for(service: ServiceIdentity, tmp_path: Path) -> None:
    key, certificate = service.node("iPAddress:127.0.0.1")
    error = json.dumps({"error": {"code": "TransactionPendingOrUnknown", "message": "m"}}).encode()
    gone = json.dumps({"error": {"code": "TransactionInvalid", "message": "m"}}).encode()
    answers = iter(
        [(404, {}, error), (202, {"retry-after": "3"}, b"later"), (200, {}, b'{"proof":[]}'), (404, {}, gone)]
    )
    with (
        serving(lambda _: next(answers), certificate, key, tmp_path) as url,
        Session(url, service.certificate) as session,
    ):
        assert session.receipt(TxID(2, 7)) == {"proof": []}
        with pytest.raises(ServiceError) as failure:
            session.receipt(TxID(2, 7))
    assert (failure.value.status, failure.value.code) == (404, "TransactionInvalid")


def test_a_member_signs_what_it_asks(service: ServiceIdentity, tmp_path: Path) -> None:
    key, certificate = service.node("iPAddress:127.0.0.1")
    files = new_identity("member0", tmp_path, encryption_key=False)
    (tmp_path / "clients.pem").write_bytes(files.certificate.read_bytes())
    signer = file_signer(files.certificate, files.private_key)
    got: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        got.append(asked)
        if asked.path.split("?")[0].endswith(":ack"):
            return 204, {}, b""
        if "withdraw" in asked.path:
            return 403, {}, b'{"error":{"code":"AuthorizationFailed","message":"not yours"}}'
        return 200, {}, json.dumps({"stateDigest": "ab" * 32, "proposalId": "p"}).encode()

    with (
        serving(answer, certificate, key, tmp_path) as url,
        Session(url, service.certificate, (files.certificate, files.private_key)) as session,
    ):
        member = Member(session, signer)
        member.activate()
        assert member.propose([{"name": "remove_user", "args": {"user_id": "x"}}])["proposalId"] == "p"
        member.accept("p")
        with pytest.raises(ServiceError, match="403 AuthorizationFailed: not yours"):
            member.withdraw("p")
    version = "?api-version=2024-07-01"
    assert [asked.path for asked in got] == [
        f"/gov/members/state-digests/{signer.id}:update{version}",
        f"/gov/members/state-digests/{signer.id}:ack{version}",
        f"/gov/members/proposals:create{version}",
        f"/gov/members/proposals/p/ballots/{signer.id}:submit{version}",
        f"/gov/members/proposals/p:withdraw{version}",
    ]
    messages = [decode_sign1(asked.body) for asked in got]
    assert all(verify_sign1(message, signer.key.public_key()) for message in messages)
    assert [message.protected["ccf.gov.msg.type"] for message in messages] == [
        "state_digest", "ack", "proposal", "ballot", "withdrawal",
    ]  # fmt: skip
    assert messages[1].payload == json.dumps({"stateDigest": "ab" * 32}).encode()
    assert messages[3].protected["ccf.gov.msg.proposal_id"] == "p"
    assert {asked.peer for asked in got} == {"member0"}
    assert {asked.headers["content-type"] for asked in got} == {"application/cose"}
