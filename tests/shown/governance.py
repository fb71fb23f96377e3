"""A round trip through governance whose signatures come from the public `ccf_cose_sign1`.

    python -m tests.shown.governance

The control signs with the key of a stranger: the service must refuse it.
"""

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataplane.client.session import Response
from dataplane.client.signing import IdentityFiles, new_identity
from tests.support.ccf_package import available_versions, cose_sign1
from tests.support.nodes import Service, wait_until
from tests.support.results import save

API = "api-version=2024-07-01"
BALLOT = {"ballot": "export function vote (proposal, proposer) { return true }"}


class _Hand:
    """Signs with the public tool and sends with a plain client."""

    def __init__(self, service: Service, version: str) -> None:
        self._service = service
        self._version = version

    def post(self, path: str, member: IdentityFiles, kind: str, body: object, proposal: str | None = None) -> Response:
        created = datetime.now(UTC).isoformat()
        envelope = cose_sign1(
            json.dumps(body).encode(), member.certificate, member.private_key, kind, created, self._version,
            proposal_id=proposal,
        )  # fmt: skip
        return self._service.any_session().request(
            "POST", f"/gov/{path}?{API}", body=envelope, headers={"content-type": "application/cose"}
        )


def run(version: str, directory: Path) -> dict[str, object]:
    """Activate two members, add a user by proposal and two ballots, open the service. Raises where a step fails."""
    with Service.start(1, directory / version, members=2) as service:
        hand = _Hand(service, version)
        steps = []
        listed = service.any_session().get_json(f"/gov/service/members?{API}")["value"]
        certs = {row["certificate"]: row["memberId"] for row in listed}
        ids = [certs[member.certificate.read_text()] for member in service.members]
        for member, member_id in zip(service.members, ids, strict=True):
            digest = _ok(
                hand.post(f"members/state-digests/{member_id}:update", member, "state_digest", {}), 200
            ).json()["stateDigest"]
            path = f"members/state-digests/{member_id}:ack"
            _ok(hand.post(path, member, "ack", {"stateDigest": digest}), 204)
            steps.append("member active")
        user = new_identity("user0", directory / version, encryption_key=False)
        actions = [
            {"name": "set_user", "args": {"cert": user.certificate.read_text()}},
            {"name": "transition_service_to_open", "args": {"next_service_identity": service.certificate}},
        ]
        proposal = _ok(
            hand.post("members/proposals:create", service.members[0], "proposal", {"actions": actions}), 200
        ).json()
        _refuse_stranger(hand, proposal["proposalId"], ids[0], directory / version)
        for member, member_id in zip(service.members, ids, strict=True):
            path = f"members/proposals/{proposal['proposalId']}/ballots/{member_id}:submit"
            proposal = _ok(hand.post(path, member, "ballot", BALLOT, proposal["proposalId"]), 200).json()
            steps.append(f"ballot, proposal {proposal['proposalState']}")
        assert proposal["proposalState"] == "Accepted"
        session = service.any_session()
        wait_until("the service to open", lambda: session.request("GET", "/app/commit").status == 200)
        assert len(session.get_json(f"/gov/service/users?{API}")["value"]) == 1
    return {"signer": f"ccf_cose_sign1 of ccf {version}", "steps": steps, "control": "a stranger's signature is a 401"}


def _ok(answer: Response, status: int) -> Response:
    assert answer.status == status, f"{answer.status} {answer.body!r}"
    return answer


def _refuse_stranger(hand: _Hand, proposal_id: str, member_id: str, directory: Path) -> None:
    stranger = new_identity("stranger", directory, encryption_key=False)
    path = f"members/proposals/{proposal_id}/ballots/{member_id}:submit"
    refused: Any = _ok(hand.post(path, stranger, "ballot", BALLOT, proposal_id), 401)
    assert refused.json()["error"]["code"] == "InvalidAuthenticationInfo"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        versions = sys.argv[1:] or available_versions()
        save("governance", {"round_trips": [run(version, Path(temporary)) for version in versions]})
