"""What Managed CCF's governance scripts do, step by step, with their tools: curl, jq's reading, `ccf_cose_sign1`.

node-api.md 9, rows 3 to 6 and 13: activate, propose, vote, deploy, open, list. The constitution is the default one, as
four files in the order of a configuration that lists them by chance, with an action more that writes to the log.
"""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dataplane.client.signing import IdentityFiles, new_identity
from dataplane.governance.constitution_texts import part_text
from tests.support.ccf_package import cose_sign1
from tests.support.nodes import Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

FILES = ("validate", "apply", "resolve", "actions")
SPEAK = """
console.info("the constitution is evaluated");
actions.set(
  "speak",
  new Action(
    function (args) { console.info("validating"); console.warn("validating, worried"); },
    function (args) { console.log("applying"); console.error("applying, alarmed"); },
  ),
);
"""
ACCEPT = {"ballot": "export function vote (proposal, proposerId) { return true }"}
APP = {
    "metadata": {
        "endpoints": {
            "/hello": {
                "get": {
                    "js_module": "hello.js",
                    "js_function": "hello",
                    "mode": "readonly",
                    "forwarding_required": "never",
                    "authn_policies": ["no_auth"],
                    "openapi": {},
                }
            }
        }
    },
    "modules": [{"name": "hello.js", "module": 'export function hello() { return { body: "hello" }; }'}],
}


class Scripts:
    """The commands of the scripts, against one node."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.certificates = service.directory / "certs"
        self.certificates.mkdir()
        (self.certificates / "service_cert.pem").write_text(service.certificate)

    def curl(self, path: str, *options: str, body: bytes = b"") -> bytes:
        """`curl -s`; the body of the answer."""
        server = self.service.nodes[0].url
        trust = ("--cacert", str(self.certificates / "service_cert.pem"))
        command = ["curl", "-s", f"{server}{path}", *trust, *options]
        return subprocess.run(command, input=body, capture_output=True, check=True, timeout=30).stdout

    def signed(
        self, path: str, kind: str, member: IdentityFiles, content: object, proposal_id: str | None = None
    ) -> Any:
        """`ccf_cose_sign1 ... | curl --data-binary @-`; the answer's JSON, None without one."""
        envelope = cose_sign1(
            json.dumps(content).encode(), member.certificate, member.private_key, kind,
            datetime.now(UTC).isoformat(timespec="seconds"), proposal_id=proposal_id,
        )  # fmt: skip
        options = ("--data-binary", "@-", "-H", "content-type: application/cose")
        answer = self.curl(path, *options, body=envelope)
        return json.loads(answer) if answer else None

    def activate(self, member: IdentityFiles) -> None:
        identity = ("--key", str(member.private_key), "--cert", str(member.certificate))
        activation = json.loads(self.curl("/gov/ack/update_state_digest", "-X", "POST", *identity))
        assert self.signed("/gov/ack", "ack", member, activation) is None

    def submit(self, voters: list[IdentityFiles], *actions: dict[str, object]) -> Any:
        """Propose as the first member, then vote as each: the last answer."""
        answer = self.signed("/gov/proposals", "proposal", voters[0], {"actions": list(actions)})
        proposal_id = answer["proposal_id"]
        for voter in voters:
            answer = self.signed(f"/gov/proposals/{proposal_id}/ballots", "ballot", voter, ACCEPT, proposal_id)
        return answer


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    text = "\n".join([*(part_text(f"default/{file}.js") for file in FILES), SPEAK])
    with Service.start(1, tmp_path / "service", members=1, constitution=text) as service:
        yield Scripts(service)


def test_from_activation_to_an_open_service(scripts: Scripts) -> None:
    service = scripts.service
    (member0,) = service.members
    created = json.loads(scripts.curl("/node/create", "-X", "POST"))["error"]
    assert (created["code"], created["message"]) == ("InternalError", "Node is not in initial state.")
    listed = json.loads(scripts.curl("/gov/members"))
    assert [row["status"] for row in listed.values()] == ["Accepted"]
    scripts.activate(member0)
    assert [row["status"] for row in json.loads(scripts.curl("/gov/members")).values()] == ["Active"]

    member1 = new_identity("member1", scripts.certificates, encryption_key=True)
    assert member1.encryption_public_key is not None
    keys = {"cert": member1.certificate.read_text(), "encryption_pub_key": member1.encryption_public_key.read_text()}
    added = scripts.submit([member0], {"name": "set_member", "args": keys})
    assert (added["state"], added["votes"]) == ("Accepted", {added["proposer_id"]: True})
    scripts.activate(member1)
    both = [member0, member1]

    user = new_identity("user0", scripts.certificates, encryption_key=False)
    assert (
        scripts.submit(both, {"name": "set_user", "args": {"cert": user.certificate.read_text()}})["state"]
        == "Accepted"
    )
    assert scripts.submit(both, {"name": "set_js_app", "args": {"bundle": APP}})["state"] == "Accepted"
    opening = {"name": "transition_service_to_open", "args": {"next_service_identity": service.certificate}}
    assert scripts.submit(both, opening)["state"] == "Accepted"
    wait_until("the app frontend", lambda: b"FrontendNotOpen" not in scripts.curl("/app/commit"))
    assert scripts.curl("/app/hello") == b"hello"

    members = json.loads(scripts.curl("/gov/members"))
    assert {row["cert"] for row in members.values()} == {each.certificate.read_text() for each in both}
    assert json.loads(scripts.curl("/gov/kv/users/certs")) == {
        key: user.certificate.read_text() for key in json.loads(scripts.curl("/gov/kv/users/certs"))
    }
    assert json.loads(scripts.curl("/gov/proposals")) == {}
    identity = ("--key", str(member1.private_key), "--cert", str(member1.certificate))
    assert json.loads(scripts.curl("/gov/recovery_share", *identity))["encrypted_share"]

    evaluated = service.nodes[0].log().count("the constitution is evaluated")
    assert scripts.submit(both, {"name": "speak"})["state"] == "Accepted"
    refused = scripts.signed("/gov/proposals", "proposal", member0, {"actions": [{"name": "be silent"}]})
    assert refused["error"]["code"] == "ProposalFailedToValidate"
    _check_log(service, evaluated)


def _check_log(service: Service, evaluated_before: int) -> None:
    """Console lines carry their level; an evaluation for each call; an error answered is told once (drop-in.md 4)."""
    wait_until("the log", lambda: "be silent" in service.nodes[0].log())
    lines = service.nodes[0].log().splitlines()

    def levels(text: str) -> list[str]:
        return [line.split("[", 1)[1][:5] for line in lines if line.endswith(f"| {text}")]

    assert levels("validating") == levels("applying") == ["info "]
    assert levels("validating, worried") == levels("applying, alarmed") == ["fail "]
    # "speak": validate, resolve when created, resolve at each of two ballots, apply; "be silent": validate.
    assert len(levels("the constitution is evaluated")) - evaluated_before == 6
    (told,) = (line for line in lines if "be silent: no such action" in line)
    assert "[info ][gov]" in told
