"""The life of a proposal (node-api.md 4.3, 4.4): Open, then Accepted, Rejected, Withdrawn, Dropped or Failed.

Pure. The constitution arrives as a `Script` of functions. Whatever raises here leaves nothing behind, because the
transaction of a failed request is discarded as a whole; so a Failed proposal is never stored.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any

from dataplane.errors import AuthorizationFailed, InternalError, InvalidInput, ProposalNotFound, RpcError
from dataplane.governance.replay import remember_proposal
from dataplane.kv.tables import COSE_HISTORY, PROPOSALS, PROPOSALS_INFO, get_json, load_json, put_json
from dataplane.kv.tx import Tx
from dataplane.txid import MemberId


class ProposalState(StrEnum):
    """Where a proposal stands. Only OPEN can be left."""

    OPEN = "Open"
    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    WITHDRAWN = "Withdrawn"
    FAILED = "Failed"
    DROPPED = "Dropped"


_END: frozenset[ProposalState] = frozenset()
TRANSITIONS: Mapping[ProposalState, frozenset[ProposalState]] = {
    ProposalState.OPEN: frozenset(ProposalState) - {ProposalState.OPEN},
    ProposalState.ACCEPTED: _END,
    ProposalState.REJECTED: _END,
    ProposalState.WITHDRAWN: _END,
    ProposalState.FAILED: _END,
    ProposalState.DROPPED: _END,
}
_RESOLUTIONS = {"Open": ProposalState.OPEN, "Accepted": ProposalState.ACCEPTED, "Rejected": ProposalState.REJECTED}


class IllegalTransition(ValueError):
    """A proposal cannot go from the one state to the other."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a script failed; `trace` is its stack where the engine gave one."""

    reason: str
    trace: str | None = None

    def to_json(self) -> dict[str, str]:
        return {"reason": self.reason} | ({} if self.trace is None else {"trace": self.trace})


class ScriptFailed(Exception):
    """A function of the constitution or of a ballot threw, ran too long or used too much memory."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class BallotDoesNotLoad(ScriptFailed):
    """A ballot is no module that exports `vote`."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What a member's ballot answered; anything but `true` is a no."""

    member_id: MemberId
    vote: bool


@dataclass(frozen=True, slots=True)
class Script:
    """The constitution's functions. All raise `ScriptFailed`; `vote` raises `BallotDoesNotLoad` as well.

    validate(text): the value the script returned. vote(ballot, text, proposer). resolve(text, proposer, votes,
    proposal_id): the value the script returned. apply(text, proposal_id): takes effect on the transaction.
    """

    validate: Callable[[str], object]
    vote: Callable[[str, str, MemberId], bool]
    resolve: Callable[[str, MemberId, Sequence[Vote], str], object]
    apply: Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as it is stored. `final_votes` and `vote_failures` exist once it is resolved, empty ones included."""

    id: str
    proposer_id: MemberId
    state: ProposalState = ProposalState.OPEN
    ballots: Mapping[MemberId, str] = field(default_factory=dict)
    final_votes: Mapping[MemberId, bool] | None = None
    vote_failures: Mapping[MemberId, Mapping[str, str]] | None = None

    def moved_to(self, state: ProposalState) -> "Proposal":
        """The proposal in another state; raises `IllegalTransition`."""
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"a proposal cannot go from {self.state} to {state}")
        return replace(self, state=state)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed request: who signed, the envelope as it came, its signature, payload and time (seconds)."""

    member_id: MemberId
    envelope: bytes
    signature: bytes
    payload: bytes
    created_at_s: int


def create(tx: Tx, script: Script, signed: Signed, root: bytes) -> Proposal:
    """Put a proposal to the vote and resolve it at once, for a constitution may accept without ballots.

    `root` is the Merkle root at the transaction's read version. Raises `RpcError` 400 for a proposal that does not
    validate or was submitted before, `InternalError` when a script fails.
    """
    text = _text_of(signed.payload)
    request_digest = sha256(signed.signature).digest()
    proposal = Proposal(proposal_id(root, request_digest), signed.member_id)
    _validate(script, text)
    tx.put(PROPOSALS, proposal.id.encode(), signed.payload)
    _store(tx, proposal)
    _record_envelope(tx, signed)
    remember_proposal(tx, signed.created_at_s, request_digest, proposal.id)
    return _resolve(tx, script, proposal)


def submit_ballot(tx: Tx, script: Script, proposal_id: str, signed: Signed, ballot: str) -> Proposal:
    """Record a member's ballot and resolve. The same text once more changes nothing.

    Raises `ProposalNotFound`, `RpcError` 400 `ProposalNotOpen` or `VoteAlreadyExists`, `InternalError` when the ballot
    does not load or a script of the constitution fails.
    """
    proposal = get_open(tx, proposal_id)
    earlier = proposal.ballots.get(signed.member_id)
    if earlier == ballot:
        return proposal
    if earlier is not None:
        raise RpcError(400, "VoteAlreadyExists", f"Member {signed.member_id} has voted otherwise on this proposal")
    proposal = replace(proposal, ballots={**proposal.ballots, signed.member_id: ballot})
    _store(tx, proposal)
    _record_envelope(tx, signed)
    return _resolve(tx, script, proposal, voter_id=signed.member_id)


def withdraw(tx: Tx, proposal_id: str, signed: Signed) -> Proposal | None:
    """Withdraw an open proposal; None when there is none of this id.

    Raises `AuthorizationFailed` for anybody but the proposer, `RpcError` 400 `ProposalNotOpen` once it is decided.
    """
    proposal = find(tx, proposal_id)
    if proposal is None:
        return None
    if proposal.proposer_id != signed.member_id:
        raise AuthorizationFailed(f"Proposal {proposal_id} can only be withdrawn by its proposer")
    if proposal.state is ProposalState.WITHDRAWN:
        return proposal
    if proposal.state is not ProposalState.OPEN:
        raise _not_open(proposal)
    withdrawn = proposal.moved_to(ProposalState.WITHDRAWN)
    _forget_closed(tx, but=proposal_id)
    _store(tx, withdrawn)
    _record_envelope(tx, signed)
    return withdrawn


def proposal_id(root: bytes, request_digest: bytes) -> str:
    """Hex id from the Merkle root read and the SHA-256 of the request's signature (ledger-format.md 1.6.1)."""
    return sha256(root + request_digest).hexdigest()


def find(tx: Tx, proposal_id: str) -> Proposal | None:
    """The proposal of this id, or None."""
    info = get_json(tx, PROPOSALS_INFO, proposal_id.encode())
    return None if info is None else _from_json(proposal_id, info)


def get(tx: Tx, proposal_id: str) -> Proposal:
    """The proposal of this id; raises `ProposalNotFound`."""
    proposal = find(tx, proposal_id)
    if proposal is None:
        raise ProposalNotFound(f"Could not find proposal {proposal_id}.")
    return proposal


def get_open(tx: Tx, proposal_id: str) -> Proposal:
    """The open proposal of this id; raises `ProposalNotFound`, or `RpcError` 400 `ProposalNotOpen`."""
    proposal = get(tx, proposal_id)
    if proposal.state is not ProposalState.OPEN:
        raise _not_open(proposal)
    return proposal


def all_proposals(tx: Tx) -> list[Proposal]:
    """Every stored proposal, by id."""
    return [_from_json(key.decode(), load_json(value)) for key, value in tx.items(PROPOSALS_INFO)]


def body_of(tx: Tx, proposal_id: str) -> bytes:
    """The request body as it was proposed; raises `ProposalNotFound`."""
    body = tx.get(PROPOSALS, proposal_id.encode())
    if body is None:
        raise ProposalNotFound(f"Could not find proposal {proposal_id}.")
    return body


def _text_of(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The proposal is not UTF-8 text: {error}") from error


def _validate(script: Script, text: str) -> None:
    try:
        verdict = script.validate(text)
    except ScriptFailed as error:
        raise InternalError(_reason("Failed to execute validation: ", error.failure)) from error
    if not isinstance(verdict, Mapping):
        raise InternalError("Validation failed to return an object")
    if verdict.get("valid") is not True:
        description = verdict.get("description", "")
        raise RpcError(400, "ProposalFailedToValidate", f"Proposal failed to validate: {description}")


def _resolve(tx: Tx, script: Script, proposal: Proposal, voter_id: MemberId | None = None) -> Proposal:
    text = body_of(tx, proposal.id).decode()
    votes, failures = _count(script, proposal, text, voter_id)
    try:
        answer = script.resolve(text, proposal.proposer_id, votes, proposal.id)
    except ScriptFailed as error:
        raise InternalError(_reason("Failed to resolve(): ", error.failure)) from error
    state = _RESOLUTIONS.get(answer) if isinstance(answer, str) else None
    if state is None:
        raise InternalError(f"Failed to resolve(): {answer!r} is not Open, Accepted or Rejected")
    if state is ProposalState.OPEN:
        return proposal
    decided = replace(
        proposal.moved_to(state), final_votes={v.member_id: v.vote for v in votes}, vote_failures=failures
    )
    _forget_closed(tx, but=proposal.id)
    _store(tx, decided)
    if state is ProposalState.ACCEPTED:
        _apply(script, text, proposal.id)
    return decided


def _count(
    script: Script, proposal: Proposal, text: str, voter_id: MemberId | None
) -> tuple[list[Vote], dict[MemberId, dict[str, str]]]:
    votes: list[Vote] = []
    failures: dict[MemberId, dict[str, str]] = {}
    for member_id, ballot in sorted(proposal.ballots.items()):
        try:
            votes.append(Vote(member_id, script.vote(ballot, text, proposal.proposer_id)))
        except BallotDoesNotLoad as error:
            # Only the member who sends it is refused: a stored ballot that loads no longer must not block the others.
            if member_id == voter_id:
                raise InternalError(_reason("", error.failure)) from error
            failures[member_id] = error.failure.to_json()
        except ScriptFailed as error:
            failures[member_id] = error.failure.to_json()
    return votes, failures


def _apply(script: Script, text: str, proposal_id: str) -> None:
    try:
        script.apply(text, proposal_id)
    except ScriptFailed as error:
        raise InternalError(_reason("Failed to apply(): ", error.failure)) from error


def _reason(prefix: str, failure: Failure) -> str:
    """The first line names what failed; the trace begins on a line of its own (node-api.md 4.4)."""
    trace = "" if failure.trace is None else f"\nTrace: {failure.trace}"
    return f"{prefix}{failure.reason}{trace}"


def _forget_closed(tx: Tx, *, but: str) -> None:
    for proposal in all_proposals(tx):
        if proposal.id != but and proposal.state is not ProposalState.OPEN:
            tx.remove(PROPOSALS, proposal.id.encode())
            tx.remove(PROPOSALS_INFO, proposal.id.encode())


def _not_open(proposal: Proposal) -> RpcError:
    return RpcError(400, "ProposalNotOpen", f"Proposal {proposal.id} is currently in state {proposal.state}")


def _record_envelope(tx: Tx, signed: Signed) -> None:
    put_json(tx, COSE_HISTORY, b64encode(signed.envelope).decode(), signed.member_id.encode())


def _store(tx: Tx, proposal: Proposal) -> None:
    info: dict[str, Any] = {
        "proposer_id": proposal.proposer_id,
        "state": proposal.state,
        "ballots": dict(proposal.ballots),
    }
    if proposal.final_votes is not None:
        info["final_votes"] = dict(proposal.final_votes)
    if proposal.vote_failures is not None:
        info["vote_failures"] = dict(proposal.vote_failures)
    put_json(tx, PROPOSALS_INFO, info, proposal.id.encode())


def _from_json(proposal_id: str, info: Mapping[str, Any]) -> Proposal:
    return Proposal(
        id=proposal_id,
        proposer_id=info["proposer_id"],
        state=ProposalState(info["state"]),
        ballots=info["ballots"],
        final_votes=info.get("final_votes"),
        vote_failures=info.get("vote_failures"),
    )
