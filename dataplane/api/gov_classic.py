"""The classic governance API of releases up to 6, which Managed CCF scripts and the sample applications speak.

node-api.md 2.4: no `api-version`, names in snake case, signed requests by any known member, and 403 where it must be
Active and is not. Its paths and those of the modern API never meet.
"""

from collections.abc import Callable
from typing import cast

from dataplane.api.gov_kv import table_endpoints
from dataplane.api.gov_recovery import answer_submission
from dataplane.api.gov_signed import (
    acknowledge_state,
    cast_ballot,
    check_signed_id,
    propose,
    signed_request,
    text_field,
)
from dataplane.apps.endpoint import Context, Endpoint, Identity, Mode, Response, json_response
from dataplane.errors import AuthorizationFailed, ProposalNotFound, ResourceNotFound, RpcError, VoteNotFound
from dataplane.governance import proposals
from dataplane.governance.host_calls import ServiceOps
from dataplane.governance.members import MemberStatus, all_members, find_member, state_digest, update_state_digest
from dataplane.governance.proposals import Proposal, ProposalState
from dataplane.governance.shares import encrypted_share
from dataplane.kv.tables import PROPOSALS_INFO, get_json
from dataplane.txid import MemberId

_ONE = "/proposals/{proposal_id}"


def classic_endpoints(ops: ServiceOps) -> list[Endpoint]:
    """All endpoints of the classic dialect below `/gov`, those on tables included."""

    def read(path: str, run: Callable[[Context], Response]) -> Endpoint:
        return Endpoint("GET", path, run)

    def signed(path: str, message: str, run: Callable[[Context, ServiceOps], Response], *also: str) -> Endpoint:
        policies = (*also, f"member_cose_sign1:{message}")
        return Endpoint("POST", path, lambda context: run(context, ops), authn=policies, mode=Mode.READ_WRITE)

    own_share = ("member_cert", "member_cose_sign1:encrypted_recovery_share")
    return [
        signed("/ack/update_state_digest", "state_digest", _update_digest, "member_cert"),
        signed("/ack", "ack", _acknowledge),
        read("/members", _members),
        signed("/proposals", "proposal", _create),
        read("/proposals", _open_proposals),
        read(_ONE, _proposal),
        read(f"{_ONE}/actions", _actions),
        signed(f"{_ONE}/withdraw", "withdrawal", _withdraw),
        signed(f"{_ONE}/ballots", "ballot", _submit_ballot),
        read(f"{_ONE}/ballots/{{member_id}}", _ballot),
        Endpoint("GET", "/recovery_share", _own_share, authn=own_share),
        read("/encrypted_recovery_share/{member_id}", _share_of),
        signed("/recovery_share", "recovery_share", _submit_share, "member_cert"),
        *table_endpoints(),
    ]


def _update_digest(context: Context, _ops: ServiceOps) -> Response:
    member_id = _caller_id(context)
    if state_digest(context.tx, member_id) is None:
        raise AuthorizationFailed(f"No ACK record exists for caller {member_id}.")
    return json_response({"state_digest": update_state_digest(context.tx, member_id)})


def _acknowledge(context: Context, ops: ServiceOps) -> Response:
    acknowledge_state(context, ops, text_field(signed_request(context).payload, "state_digest"))
    return Response(204)


def _members(context: Context) -> Response:
    return json_response(
        {
            member.id: {
                "status": member.status,
                "member_data": member.data,
                "cert": member.cert_pem,
                "public_encryption_key": member.encryption_key_pem,
            }
            for member in all_members(context.tx)
        }
    )


def _create(context: Context, ops: ServiceOps) -> Response:
    _check_active(context)
    return json_response(_summary(propose(context, ops)))


def _open_proposals(context: Context) -> Response:
    still_open = [p.id for p in proposals.all_proposals(context.tx) if p.state is ProposalState.OPEN]
    return json_response({proposal_id: _info(context, proposal_id) for proposal_id in still_open})


def _proposal(context: Context) -> Response:
    proposal = proposals.get(context.tx, context.request.params["proposal_id"])
    return json_response(_info(context, proposal.id))


def _actions(context: Context) -> Response:
    body = proposals.body_of(context.tx, context.request.params["proposal_id"])
    return Response(200, body, {"content-type": "application/json"})


def _withdraw(context: Context, _ops: ServiceOps) -> Response:
    _check_active(context)
    proposal_id = _signed_proposal_id(context)
    found = proposals.find(context.tx, proposal_id)
    if found is None:
        raise RpcError(400, ProposalNotFound.code, f"Proposal {proposal_id} does not exist.")
    withdrawn = proposals.withdraw(context.tx, proposal_id, signed_request(context))
    if found.state is ProposalState.WITHDRAWN or withdrawn is None:
        raise RpcError(400, "ProposalNotOpen", f"Proposal {proposal_id} is withdrawn already.")
    return json_response(_summary(withdrawn))


def _submit_ballot(context: Context, ops: ServiceOps) -> Response:
    _check_active(context)
    proposal_id = _signed_proposal_id(context)
    member_id = _caller_id(context)
    if member_id in proposals.get_open(context.tx, proposal_id).ballots:
        raise RpcError(400, "VoteAlreadyExists", f"Member {member_id} has voted on this proposal.")
    return json_response(_summary(cast_ballot(context, ops, proposal_id)))


def _ballot(context: Context) -> Response:
    proposal_id, member_id = context.request.params["proposal_id"], context.request.params["member_id"]
    ballot = proposals.get(context.tx, proposal_id).ballots.get(member_id)
    if ballot is None:
        raise VoteNotFound(f"Member {member_id} has not voted for proposal {proposal_id}.")
    return json_response({"ballot": ballot})


def _own_share(context: Context) -> Response:
    return _encrypted_share(context, _check_active(context))


def _share_of(context: Context) -> Response:
    return _encrypted_share(context, context.request.params["member_id"])


def _encrypted_share(context: Context, member_id: MemberId) -> Response:
    share = encrypted_share(context.tx, member_id)
    if share is None:
        raise ResourceNotFound(f"Recovery share not found for member m[{member_id}].")
    return json_response({"encrypted_share": share})


def _submit_share(context: Context, ops: ServiceOps) -> Response:
    member_id = _check_active(context)
    envelope = cast(Identity, context.caller).cose
    payload = context.request.body if envelope is None else envelope.payload or b""
    return answer_submission(context, ops, member_id, payload, lambda submission: {"message": submission.message})


def _caller_id(context: Context) -> MemberId:
    return cast(str, cast(Identity, context.caller).id)


def _check_active(context: Context) -> MemberId:
    member_id = _caller_id(context)
    member = find_member(context.tx, member_id)
    if member is None or member.status is not MemberStatus.ACTIVE:
        raise AuthorizationFailed(f"Member {member_id} is not active.")
    return member_id


def _signed_proposal_id(context: Context) -> str:
    proposal_id = context.request.params["proposal_id"]
    check_signed_id(context, proposal_id)
    return proposal_id


def _info(context: Context, proposal_id: str) -> object:
    """The stored record: `proposer_id`, `state`, `ballots`, and once it is decided `final_votes`, `vote_failures`."""
    return get_json(context.tx, PROPOSALS_INFO, proposal_id.encode())


def _summary(proposal: Proposal) -> dict[str, object]:
    body: dict[str, object] = {
        "proposal_id": proposal.id,
        "proposer_id": proposal.proposer_id,
        "state": proposal.state,
        "ballot_count": len(proposal.ballots),
    }
    if proposal.final_votes is not None:
        body["votes"] = proposal.final_votes
    if proposal.vote_failures:
        body["vote_failures"] = proposal.vote_failures
    return body
