"""Governance on real nodes: the operator's part, requests through a backup, what the ledger holds afterwards."""

import json
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dataplane.client.session import ServiceError, Session
from dataplane.client.signing import COSE_HEADERS, IdentityFiles, Member, file_signer, new_identity, sign_governance
from dataplane.client.verify import verify_ledger
from dataplane.crypto.certs import public_key_of
from dataplane.crypto.cose import decode_sign1, verify_sign1
from dataplane.crypto.keys import load_rsa_private_key, rsa_oaep_decrypt
from dataplane.crypto.shamir import combine, decode_share
from dataplane.kv.tables import (
    COSE_HISTORY,
    MEMBERS_CERTS,
    PROPOSALS,
    PROPOSALS_INFO,
    RECOVERY_SHARES,
    SERVICE_INFO,
    load_json,
)
from dataplane.ledger.chunk import parse_name, read_layout
from dataplane.ledger.entry import DecodedEntry, decode_entry
from dataplane.ledger.secrets import LedgerSecrets, unwrap
from tests.support.nodes import ROOT, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

TOO_FEW = "Unable to open service: 0 active recovery participants"

API = "api-version=2024-07-01"
LOGGING = ROOT / "samples" / "logging"
SINCE_NOW = "%y%m%d%H%M%SZ"
SECRET = b"""{"id": 1, "msg": "for the members' eyes"}"""


class OperatedService(Service):
    """A service with an operator member, as the control plane makes one."""

    operator: IdentityFiles

    def _start_command(self) -> dict[str, Any]:
        command = super()._start_command()
        self.operator = new_identity("operator", self.directory, encryption_key=False)
        data = self.directory / "operator.json"
        data.write_text(json.dumps({"is_operator": True, "owner": "tests"}))
        command["start"]["members"].append(
            {"certificate_file": str(self.operator.certificate), "data_json_file": str(data)}
        )
        return command


@pytest.fixture
def service(tmp_path: Path) -> Iterator[OperatedService]:
    with OperatedService.start(1, tmp_path / "service", members=2, chunk_size="20KB") as running:
        assert isinstance(running, OperatedService)
        yield running


def open_it(service: Service) -> dict[str, Any]:
    return {"name": "transition_service_to_open", "args": {"next_service_identity": service.certificate}}


def test_the_operator_runs_the_machines_and_decides_nothing_else(service: OperatedService) -> None:
    operator = service.member(service.operator)
    with pytest.raises(ServiceError) as caught:
        operator.propose([open_it(service)])
    assert (caught.value.status, caught.value.code) == (401, "InvalidAuthenticationInfo")
    operator.activate()
    with pytest.raises(ServiceError) as caught:
        operator.propose([open_it(service)])
    assert (caught.value.status, caught.value.code) == (500, "InternalError")
    assert caught.value.message.startswith(f"Failed to apply(): Error: {TOO_FEW}")
    for member in service.members:
        service.member(member).activate()
    assert operator.propose([open_it(service)])["proposalState"] == "Accepted"
    session = service.any_session()
    wait_until("the service to open", lambda: session.request("GET", "/app/commit").status == 200)

    joiner = service.join(wait=False)
    (pending,) = wait_until("a Pending node", lambda: session.get_json("/node/network/nodes?status=Pending")["nodes"])
    trust = {"node_id": pending["node_id"], "valid_from": time.strftime(SINCE_NOW, time.gmtime())}
    accepted = operator.propose([{"name": "transition_node_to_trusted", "args": trust}])
    assert accepted["proposalState"] == "Accepted"
    ready = service.session(joiner)
    wait_until("the joiner to be ready", lambda: ready.request("GET", "/node/ready/gov").status == 204)

    user = new_identity("user", service.directory, encryption_key=False)
    wish = operator.propose([{"name": "set_user", "args": {"cert": user.certificate.read_text()}}])
    assert wish["proposalState"] == "Open"
    assert operator.accept(wish["proposalId"])["proposalState"] == "Open"
    assert session.get_json(f"/gov/service/users?{API}")["value"] == []

    removed = operator.propose([{"name": "remove_node", "args": {"node_id": pending["node_id"]}}])
    assert removed["proposalState"] == "Accepted"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Service]:
    with Service.start(3, tmp_path / "service", members=3, open_with=LOGGING, chunk_size="20KB") as running:
        yield running


def test_a_round_trip_through_backups_and_what_the_ledger_keeps(three: Service) -> None:
    backups = [node for node in three.nodes if node is not three.primary()]
    members = [
        Member(three.session(node), file_signer(files.certificate, files.private_key))
        for node, files in zip([*backups, three.primary()], three.members, strict=True)
    ]
    user = new_identity("user1", three.directory, encryption_key=False)
    add = {"name": "set_user", "args": {"cert": user.certificate.read_text(), "user_data": {"from": "backup"}}}
    envelope = _proposal(members[0], [add])
    session = members[0].session
    proposal = _send(session, "members/proposals:create", envelope).json()
    assert proposal["proposalState"] == "Open"

    for replayed_to in three.nodes:
        again = _send(three.session(replayed_to), "members/proposals:create", envelope)
        assert (again.status, again.json()["error"]["code"]) == (400, "ProposalReplay")

    pid = proposal["proposalId"]
    with pytest.raises(ServiceError) as caught:
        members[1].vote(pid, "export function vote (")
    assert (caught.value.status, caught.value.code) == (500, "InternalError")
    assert "Failed to compile" in caught.value.message
    assert members[1].vote(pid, 'export function vote () { throw new Error("unsure") }')["ballotCount"] == 1
    assert members[0].accept(pid)["proposalState"] == "Open"
    final = members[2].accept(pid)
    assert final["proposalState"] == "Accepted"
    assert final["voteFailures"][members[1].id]["reason"] == "Error: unsure"

    other = members[1].propose([{"name": "remove_user", "args": {"user_id": "a" * 64}}])
    assert members[1].withdraw(other["proposalId"])["proposalState"] == "Withdrawn"
    broken = {"metadata": {"endpoints": {}}, "modules": [{"name": "a.js", "module": "export function ("}]}
    with pytest.raises(ServiceError) as caught:
        members[0].propose([{"name": "set_js_app", "args": {"bundle": broken}}])
    assert (caught.value.status, caught.value.code) == (400, "ProposalFailedToValidate")
    assert "Failed to compile module 'a.js'" in caught.value.message
    too_high = members[0].propose([{"name": "set_recovery_threshold", "args": {"recovery_threshold": 50}}])
    members[0].accept(too_high["proposalId"])
    with pytest.raises(ServiceError) as caught:
        members[1].accept(too_high["proposalId"])
    assert caught.value.message.startswith("Failed to apply(): Error: 3 active recovery participants are fewer")
    assert session.get_json(f"/gov/members/proposals/{too_high['proposalId']}?{API}")["ballotCount"] == 1

    newest = three.session(user="user0").request("POST", "/app/log/private?id=1", body=SECRET)
    assert newest.txid is not None
    three.session().wait_for_commit(newest.txid)
    for node in three.nodes:
        current = three.session(node)
        listed = current.get_json(f"/gov/members/proposals?{API}")["value"]
        assert {row["proposalId"]: row["proposalState"] for row in listed} == {
            other["proposalId"]: "Withdrawn",  # leaving Open, it took the accepted one out of the table
            too_high["proposalId"]: "Open",
        }
        assert len(current.get_json(f"/gov/service/users?{API}")["value"]) == 2
    ledger = three.primary().ledger
    three.stop()
    frames = _frames(ledger)
    entries = [decode_entry(frame) for frame in frames]
    _audit(entries)
    secrets = _secret_from_shares(entries, three)
    verify_ledger(ledger, uncommitted=True, secrets=secrets)
    written = [decode_entry(frame, secrets).writes for frame in frames]
    private = {table: rows for writes in written for table, rows in writes.items() if not table.startswith("public:")}
    assert any(b"for the members' eyes" in (value or b"") for rows in private.values() for value in rows.values())


def _proposal(member: Member, actions: list[Mapping[str, Any]]) -> bytes:
    payload = json.dumps({"actions": actions}).encode()
    return sign_governance(member.signer, "proposal", payload, created_at_s=int(time.time()))


def _send(session: Session, path: str, envelope: bytes) -> Any:
    return session.request("POST", f"/gov/{path}?{API}", body=envelope, headers=COSE_HEADERS)


def _frames(ledger: Path) -> list[bytes]:
    frames: list[bytes] = []
    for path in sorted(ledger.iterdir(), key=lambda path: parse_name(path.name).first):  # type: ignore[union-attr]
        data = path.read_bytes()
        layout = read_layout(data)
        frames += [data[slice(*layout.bounds(index))] for index in range(len(layout.positions))]
    return frames


def _audit(entries: list[DecodedEntry]) -> None:
    """What auditors of such a ledger check (node-api.md 10, ledger invariants)."""
    certs: dict[bytes, bytes] = {}
    states: list[str] = []
    for entry in entries:
        certs |= {key: pem for key, pem in entry.writes.get(MEMBERS_CERTS, {}).items() if pem}
        for key, raw in entry.writes.get(PROPOSALS_INFO, {}).items():
            if raw is None:
                continue
            info = load_json(raw)
            states.append(info["state"])
            if info["state"] in ("Accepted", "Rejected"):
                assert {*info["final_votes"], *info["vote_failures"]} == set(info["ballots"])
            else:
                assert "final_votes" not in info
            signers = entry.writes[COSE_HISTORY]
            (signer, kept), *others = signers.items()
            assert not others
            message = decode_sign1(b64decode(load_json(kept or b"")))
            assert verify_sign1(message, public_key_of(certs[signer]))
            if message.protected["ccf.gov.msg.type"] == "proposal":
                assert entry.writes[PROPOSALS][key] == message.payload
            else:
                assert message.protected["ccf.gov.msg.proposal_id"] == key.decode()
    assert set(states) == {"Open", "Accepted", "Withdrawn"}


def _secret_from_shares(entries: list[DecodedEntry], service: Service) -> LedgerSecrets:
    """What the members get together from the opening transaction with their keys."""
    infos = [load_json(entry.writes.get(SERVICE_INFO, {}).get(bytes(8)) or b"{}") for entry in entries]
    (opening,) = (entry for entry, info in zip(entries, infos, strict=True) if info.get("status") == "Open")
    value = load_json(opening.writes[RECOVERY_SHARES][bytes(8)] or b"")
    shares = []
    for member in service.members:
        assert member.encryption_private_key is not None
        key = load_rsa_private_key(member.encryption_private_key.read_bytes())
        encrypted = value["encrypted_shares"][file_signer(member.certificate, member.private_key).id]
        shares.append(decode_share(rsa_oaep_decrypt(key, b64decode(encrypted))))
    return LedgerSecrets({1: unwrap(b64decode(value["wrapped_latest_ledger_secret"]), combine(shares, 3))})
