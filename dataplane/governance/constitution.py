"""Running the constitution and the members' ballots: fresh interpreters over the request's transaction.

Each call has an interpreter of its own, so that nothing passes from one script to another. Only `apply` may write
(node-api.md 4.4, 5.6).
"""

from collections.abc import Sequence

from dataplane.errors import InternalError
from dataplane.governance.host_calls import CONSTITUTION_MODULE, ServiceOps, governance_limits, natives
from dataplane.governance.proposals import BallotDoesNotLoad, Failure, Script, ScriptFailed, Vote
from dataplane.js.host import Access
from dataplane.js.interpreter import JsError, JsLoadError, call
from dataplane.kv.tables import CONSTITUTION, get_json
from dataplane.kv.tx import Tx
from dataplane.txid import MemberId

_BALLOT_MODULE = "ballot"


def constitution_of(tx: Tx) -> str:
    """The service's constitution; raises `InternalError` where it has none."""
    text = get_json(tx, CONSTITUTION)
    if text is None:
        raise InternalError("No constitution is set - proposals cannot be evaluated")
    return str(text)


def script_of(tx: Tx, ops: ServiceOps) -> Script:
    """The functions of the service's constitution, and of ballots, on this transaction."""
    text = constitution_of(tx)

    def evaluate(function: str, args: Sequence[object], access: Access) -> object:
        try:
            return _run(tx, ops, CONSTITUTION_MODULE, text, function, args, access)
        except JsError as error:
            raise ScriptFailed(Failure(error.reason, error.trace)) from error

    def resolve(proposal: str, proposer_id: MemberId, votes: Sequence[Vote], proposal_id: str) -> object:
        given = [{"member_id": vote.member_id, "vote": vote.vote} for vote in votes]
        return evaluate("resolve", [proposal, proposer_id, given, proposal_id], Access.GOV_READ_ONLY)

    def apply(proposal: str, proposal_id: str) -> None:
        evaluate("apply", [proposal, proposal_id], Access.GOV_READ_WRITE)

    return Script(
        validate=lambda proposal: evaluate("validate", [proposal], Access.GOV_READ_ONLY),
        vote=lambda ballot, proposal, proposer_id: _vote(tx, ops, ballot, proposal, proposer_id),
        resolve=resolve,
        apply=apply,
    )


def _vote(tx: Tx, ops: ServiceOps, ballot: str, proposal: str, proposer_id: MemberId) -> bool:
    try:
        answer = _run(tx, ops, _BALLOT_MODULE, ballot, "vote", [proposal, proposer_id], Access.GOV_READ_ONLY)
    except JsLoadError as error:
        raise BallotDoesNotLoad(Failure(error.reason, error.trace)) from error
    except JsError as error:
        raise ScriptFailed(Failure(error.reason, error.trace)) from error
    return answer is True


def _run(
    tx: Tx, ops: ServiceOps, module: str, source: str, function: str, args: Sequence[object], access: Access
) -> object:
    return call(
        {module: source}.get,
        module,
        function,
        args,
        tx=tx,
        access=access,
        limits=governance_limits(tx),
        natives=natives(tx, ops, access),
        console=ops.log,
    )
