"""What a member signed, read from its COSE envelope, and what it does to the service: the same in both dialects.

The modern API and the classic one (node-api.md 2.3, 2.4) differ in paths, names and what they answer.
"""

import json
from typing import cast

from dataplane.api.auth_cose import CREATED_AT
from dataplane.apps.endpoint import Context, Identity
from dataplane.config import RecoveryRole
from dataplane.crypto.cose import Sign1
from dataplane.errors import InternalError, InvalidInput, InvalidResourceName
from dataplane.governance import proposals
from dataplane.governance.constitution import script_of
from dataplane.governance.host_calls import ServiceOps
from dataplane.governance.members import acknowledge, find_member
from dataplane.governance.proposals import Proposal, Signed
from dataplane.governance.service import is_open
from dataplane.governance.shares import TooFewHolders, issue_shares
from dataplane.txid import MemberId

PROPOSAL_ID = "ccf.gov.msg.proposal_id"


def signed_request(context: Context) -> Signed:
    """The request of a caller who authenticated with COSE."""
    caller = cast(Identity, context.caller)
    envelope = cast(Sign1, caller.cose)
    return Signed(
        member_id=cast(str, caller.id),
        envelope=context.request.body,
        signature=envelope.signature,
        payload=envelope.payload or b"",
        created_at_s=cast(int, envelope.protected[CREATED_AT]),
    )


def check_signed_id(context: Context, proposal_id: str) -> None:
    """Whether the proposal in the URL is the one that was signed; raises `InvalidResourceName`."""
    signed = cast(Sign1, cast(Identity, context.caller).cose).protected.get(PROPOSAL_ID)
    if signed != proposal_id:
        raise InvalidResourceName(f"The signed {PROPOSAL_ID} {signed} is not the proposal in the URL, {proposal_id}.")


def text_field(payload: bytes, name: str) -> str:
    """A text of a JSON object; raises `InvalidInput` for any other payload."""
    try:
        body = json.loads(payload)
    except ValueError as error:
        raise InvalidInput(f"The signed payload is not JSON: {error}") from error
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise InvalidInput(f"The signed payload must be an object whose {name} is a string.")
    return value


def propose(context: Context, ops: ServiceOps) -> Proposal:
    """Put the signed proposal to the vote; its id depends on the state that was read (node-api.md 4.3)."""
    root = context.node.root_at(context.tx.read_version)
    if root is None:
        raise InternalError("Proposal failed to bind to state: the Merkle root is not available")
    return proposals.create(context.tx, script_of(context.tx, ops), signed_request(context), root)


def cast_ballot(context: Context, ops: ServiceOps, proposal_id: str) -> Proposal:
    """Record the signed ballot for an open proposal, and resolve."""
    proposals.get_open(context.tx, proposal_id)
    signed = signed_request(context)
    ballot = text_field(signed.payload, "ballot")
    return proposals.submit_ballot(context.tx, script_of(context.tx, ops), proposal_id, signed, ballot)


def acknowledge_state(context: Context, ops: ServiceOps, digest: str) -> None:
    """Activate the signer, whose digest must be the one it was told, and give it a share where it needs one."""
    signed = signed_request(context)
    newly_active = acknowledge(context.tx, signed.member_id, digest, signed.envelope)
    if newly_active:
        _share_with(context, ops, signed.member_id)


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
