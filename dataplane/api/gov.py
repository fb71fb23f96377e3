"""The modern governance API: members' signed requests, and what they are about (node-api.md 2.3, 4).

Every call names an `api-version`; it is checked when the endpoint runs, so that on signed endpoints a bad signature is
told first (node-api.md 11). Reads of the service's state stand in `gov_service`.
"""

import json
from collections.abc import Callable
from typing import cast

from dataplane.api.gov_jwt import jwt_endpoints
from dataplane.api.gov_recovery import recovery_endpoints
from dataplane.api.gov_request import hex_id, versioned
from dataplane.api.gov_service import service_endpoints
from dataplane.apps.endpoint import Context, Endpoint, Identity, Mode, Response, json_response, text_response
from dataplane.config import RecoveryRole
from dataplane.crypto.cose import Sign1
from dataplane.errors import (
    InternalError,
    InvalidInput,
    InvalidResourceName,
    ResourceNotFound,
    RpcError,
    VoteNotFound,
)
from dataplane.governance import proposals
from dataplane.governance.constitution import script_of
from dataplane.governance.host_calls import ServiceOps
from dataplane.governance.members import acknowledge, find_member, state_digest, update_state_digest
from dataplane.governance.proposals import Proposal, Signed
from dataplane.governance.service import is_open
from dataplane.governance.shares import TooFewHolders, issue_shares
from dataplane.txid import MemberId

CREATED_AT = "ccf.gov.msg.created_at"
PROPOSAL_ID = "ccf.gov.msg.proposal_id"

_PROPOSALS = "/members/proposals"
_ONE = "/members/proposals/{proposalId}"
_BALLOT = "/members/proposals/{proposalId}/ballots/{memberId}"
_DIGEST = "/members/state-digests/{memberId}"


def endpoints(ops: ServiceOps) -> list[Endpoint]:
    """All endpoints of the modern API below `/gov`; `ops` is what governance may ask of the node."""

    def read(path: str, run: Callable[[Context], Response]) -> Endpoint:
        return Endpoint("GET", path, versioned(run))

    def write(path: str, message: str, run: Callable[[Context, ServiceOps], Response], *, any_member: bool) -> Endpoint:
        policy = f"member_cose_sign1:{message}" if any_member else f"active_member_cose_sign1:{message}"
        return Endpoint(
            "POST", path, versioned(lambda context: run(context, ops)), authn=(policy,), mode=Mode.READ_WRITE
        )

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
    member_id = _own_member_id(context)
    digest = _text_field(_signed(context), "stateDigest")
    newly_active = acknowledge(context.tx, member_id, digest, context.request.body)
    if newly_active:
        _share_with(context, ops, member_id)
    return Response(204)


def _share_with(context: Context, ops: ServiceOps, member_id: MemberId) -> None:
    """A recovery member that becomes Active on an Open service gets its share (node-api.md 4.2)."""
    member = find_member(context.tx, member_id)
    if member is None or member.recovery_role is RecoveryRole.NON_PARTICIPANT or not is_open(context.tx):
        return
    try:
        issue_shares(context.tx, ops.latest_ledger_secret().key, ops.draw)
    except TooFewHolders:
        # Members that were set anew must acknowledge one by one; until enough have, the shares given out before hold.
        return
    except ValueError as error:
        raise InternalError(f"Error issuing new recovery shares: {error}") from error


def _list_proposals(context: Context) -> Response:
    return json_response({"value": [_described(proposal) for proposal in proposals.all_proposals(context.tx)]})


def _create(context: Context, ops: ServiceOps) -> Response:
    root = context.node.root_at(context.tx.read_version)
    if root is None:
        raise InternalError("Proposal failed to bind to state: the Merkle root is not available")
    proposal = proposals.create(context.tx, script_of(context.tx, ops), _signed(context), root)
    return json_response(_described(proposal))


def _get_proposal(context: Context) -> Response:
    return json_response(_described(proposals.get(context.tx, hex_id(context, "proposalId"))))


def _actions(context: Context) -> Response:
    return Response(200, proposals.body_of(context.tx, hex_id(context, "proposalId")))


def _withdraw(context: Context, _ops: ServiceOps) -> Response:
    proposal_id = _signed_proposal_id(context)
    withdrawn = proposals.withdraw(context.tx, proposal_id, _signed(context))
    return Response(204) if withdrawn is None else json_response(_described(withdrawn))


def _get_ballot(context: Context) -> Response:
    proposal_id, member_id = hex_id(context, "proposalId"), hex_id(context, "memberId")
    ballot = proposals.get(context.tx, proposal_id).ballots.get(member_id)
    if ballot is None:
        raise VoteNotFound(f"Member {member_id} has not voted for proposal {proposal_id}.")
    return text_response(ballot, "text/javascript")


def _submit_ballot(context: Context, ops: ServiceOps) -> Response:
    proposal_id, member_id = _signed_proposal_id(context), hex_id(context, "memberId")
    signed = _signed(context)
    if signed.member_id != member_id:
        raise InvalidResourceName(f"Member {signed.member_id} cannot submit a ballot for member {member_id}.")
    proposals.get_open(context.tx, proposal_id)
    ballot = _text_field(signed, "ballot")
    proposal = proposals.submit_ballot(context.tx, script_of(context.tx, ops), proposal_id, signed, ballot)
    return json_response(_described(proposal))


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


def _signed(context: Context) -> Signed:
    caller = cast(Identity, context.caller)
    envelope = cast(Sign1, caller.cose)
    return Signed(
        member_id=cast(str, caller.id),
        envelope=context.request.body,
        signature=envelope.signature,
        payload=envelope.payload or b"",
        created_at_s=cast(int, envelope.protected[CREATED_AT]),
    )


def _own_member_id(context: Context) -> MemberId:
    member_id = hex_id(context, "memberId")
    signer = cast(Identity, context.caller).id
    if signer != member_id:
        text = f"Member {signer} cannot act on the state digest of member {member_id}."
        raise RpcError(400, "InvalidAuthenticationInfo", text)
    return member_id


def _signed_proposal_id(context: Context) -> str:
    proposal_id = hex_id(context, "proposalId")
    signed = cast(Sign1, cast(Identity, context.caller).cose).protected.get(PROPOSAL_ID)
    if signed != proposal_id:
        raise InvalidResourceName(f"The signed {PROPOSAL_ID} {signed} is not the proposal in the URL, {proposal_id}.")
    return proposal_id


def _text_field(signed: Signed, name: str) -> str:
    try:
        body = json.loads(signed.payload)
    except ValueError as error:
        raise InvalidInput(f"The signed payload is not JSON: {error}") from error
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise InvalidInput(f"The signed payload must be an object whose {name} is a string.")
    return value
