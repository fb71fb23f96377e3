"""Governance over HTTP: members' signed requests, and what they are about (node-api.md 2.3, 4).

Here stands the modern API; the classic one is in `gov_classic`.

Every call names an `api-version`; it is checked when the endpoint runs, so that on signed endpoints a bad signature is
told first (node-api.md 11). Reads of the service's state stand in `gov_service`.
"""

from collections.abc import Callable
from typing import cast

from dataplane.api.gov_classic import classic_endpoints
from dataplane.api.gov_jwt import jwt_endpoints
from dataplane.api.gov_recovery import recovery_endpoints
from dataplane.api.gov_request import hex_id, logging_errors, versioned
from dataplane.api.gov_service import service_endpoints
from dataplane.api.gov_signed import (
    acknowledge_state,
    cast_ballot,
    check_signed_id,
    propose,
    signed_request,
    text_field,
)
from dataplane.apps.endpoint import Context, Endpoint, Identity, Mode, Response, json_response, text_response
from dataplane.errors import InvalidResourceName, ResourceNotFound, RpcError, VoteNotFound
from dataplane.governance import proposals
from dataplane.governance.host_calls import ServiceOps
from dataplane.governance.members import state_digest, update_state_digest
from dataplane.governance.proposals import Proposal
from dataplane.txid import MemberId

_PROPOSALS = "/members/proposals"
_ONE = "/members/proposals/{proposalId}"
_BALLOT = "/members/proposals/{proposalId}/ballots/{memberId}"
_DIGEST = "/members/state-digests/{memberId}"


def endpoints(ops: ServiceOps) -> list[Endpoint]:
    """All endpoints below `/gov`, of both dialects; `ops` is what governance may ask of the node."""
    return [logging_errors(endpoint) for endpoint in (*_modern_endpoints(ops), *classic_endpoints(ops))]


def _modern_endpoints(ops: ServiceOps) -> list[Endpoint]:

    def read(path: str, run: Callable[[Context], Response]) -> Endpoint:
        return versioned("GET", path, run)

    def write(path: str, message: str, run: Callable[[Context, ServiceOps], Response], *, any_member: bool) -> Endpoint:
        policy = f"member_cose_sign1:{message}" if any_member else f"active_member_cose_sign1:{message}"
        return versioned("POST", path, lambda context: run(context, ops), authn=(policy,), mode=Mode.READ_WRITE)

    return [
        read(_DIGEST, _get_digest),
        write(f"{_DIGEST}:update", "state_digest", _update_digest, any_member=True),
        write(f"{_DIGEST}:ack", "ack", _acknowledge, any_member=True),
        read(_PROPOSALS, _list_proposals),
        write(f"{_PROPOSALS}:create", "proposal", _create, any_member=False),
        read(_ONE, _get_proposal),
        read(f"{_ONE}/actions", _actions),
        write(f"{_ONE}:withdraw", "withdrawal", _withdraw, any_member=False),
        read(_BALLOT, _get_ballot),
        write(f"{_BALLOT}:submit", "ballot", _submit_ballot, any_member=False),
        *recovery_endpoints(ops),
        *service_endpoints(),
        *jwt_endpoints(),
    ]


def _get_digest(context: Context) -> Response:
    member_id = hex_id(context, "memberId")
    digest = state_digest(context.tx, member_id)
    if digest is None:
        raise ResourceNotFound(f"No ACK record exists for member {member_id}.")
    return json_response({"memberId": member_id, "stateDigest": digest})


def _update_digest(context: Context, _ops: ServiceOps) -> Response:
    member_id = _own_member_id(context)
    return json_response({"memberId": member_id, "stateDigest": update_state_digest(context.tx, member_id)})


def _acknowledge(context: Context, ops: ServiceOps) -> Response:
    _own_member_id(context)
    acknowledge_state(context, ops, text_field(signed_request(context).payload, "stateDigest"))
    return Response(204)


def _list_proposals(context: Context) -> Response:
    return json_response({"value": [_described(proposal) for proposal in proposals.all_proposals(context.tx)]})


def _create(context: Context, ops: ServiceOps) -> Response:
    return json_response(_described(propose(context, ops)))


def _get_proposal(context: Context) -> Response:
    return json_response(_described(proposals.get(context.tx, hex_id(context, "proposalId"))))


def _actions(context: Context) -> Response:
    return Response(200, proposals.body_of(context.tx, hex_id(context, "proposalId")))


def _withdraw(context: Context, _ops: ServiceOps) -> Response:
    proposal_id = _signed_proposal_id(context)
    withdrawn = proposals.withdraw(context.tx, proposal_id, signed_request(context))
    return Response(204) if withdrawn is None else json_response(_described(withdrawn))


def _get_ballot(context: Context) -> Response:
    proposal_id, member_id = hex_id(context, "proposalId"), hex_id(context, "memberId")
    ballot = proposals.get(context.tx, proposal_id).ballots.get(member_id)
    if ballot is None:
        raise VoteNotFound(f"Member {member_id} has not voted for proposal {proposal_id}.")
    return text_response(ballot, "text/javascript")


def _submit_ballot(context: Context, ops: ServiceOps) -> Response:
    proposal_id, member_id = _signed_proposal_id(context), hex_id(context, "memberId")
    signer = signed_request(context).member_id
    if signer != member_id:
        raise InvalidResourceName(f"Member {signer} cannot submit a ballot for member {member_id}.")
    return json_response(_described(cast_ballot(context, ops, proposal_id)))


def _described(proposal: Proposal) -> dict[str, object]:
    body: dict[str, object] = {
        "proposalId": proposal.id,
        "proposerId": proposal.proposer_id,
        "proposalState": proposal.state,
        "ballotCount": len(proposal.ballots),
    }
    if proposal.final_votes is not None:
        body["finalVotes"] = proposal.final_votes
    if proposal.vote_failures is not None:
        body["voteFailures"] = proposal.vote_failures
    return body


def _own_member_id(context: Context) -> MemberId:
    member_id = hex_id(context, "memberId")
    signer = cast(Identity, context.caller).id
    if signer != member_id:
        text = f"Member {signer} cannot act on the state digest of member {member_id}."
        raise RpcError(400, "InvalidAuthenticationInfo", text)
    return member_id


def _signed_proposal_id(context: Context) -> str:
    proposal_id = hex_id(context, "proposalId")
    check_signed_id(context, proposal_id)
    return proposal_id
