"""Recovery shares over the modern governance API: fetch one, submit one (node-api.md 2.3, 8.3)."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import cast

from dataplane.api.gov_request import hex_id, versioned
from dataplane.apps.endpoint import Context, Endpoint, Identity, Mode, Response, json_response
from dataplane.errors import InvalidInput, ResourceNotFound, RpcError
from dataplane.governance.host_calls import ServiceOps
from dataplane.governance.recovery import CombinationFailed, Submission, submit_share
from dataplane.governance.shares import encrypted_share
from dataplane.kv.tables import load_json
from dataplane.txid import MemberId


def recovery_endpoints(ops: ServiceOps) -> list[Endpoint]:
    """The two endpoints below `/gov/recovery`."""
    policy = ("active_member_cose_sign1:recovery_share",)
    path = "/recovery/members/{memberId}:recover"
    return [
        versioned("GET", "/recovery/encrypted-shares/{memberId}", _encrypted_share),
        versioned("POST", path, lambda context: _submit(context, ops), authn=policy, mode=Mode.READ_WRITE),
    ]


def answer_submission(
    context: Context,
    ops: ServiceOps,
    member_id: MemberId,
    payload: bytes,
    describe: Callable[[Submission], Mapping[str, object]],
) -> Response:
    """Take the share in `payload`, JSON with `share` in base64, and answer as `describe` says.

    Where the shares cannot be combined, the answer is 500 and yet takes effect: the submitted ones are cleared. Raises
    what `submit_share` does, and `InvalidInput`.
    """
    try:
        submission = submit_share(
            context.tx,
            member_id,
            _share(payload),
            current=ops.latest_ledger_secret(),
            history=ops.secret_history(),
            draw=ops.draw,
        )
    except CombinationFailed as error:
        ops.log("error", str(error))
        response = json_response({"error": {"code": "InternalError", "message": str(error)}}, 500)
        response.apply_writes = True
        return response
    return json_response(dict(describe(submission)))


def _submit(context: Context, ops: ServiceOps) -> Response:
    member_id = hex_id(context, "memberId")
    caller = cast(Identity, context.caller)
    if caller.id != member_id:
        text = (
            f"Member ID from path parameter ({member_id}) does not match member ID from body signature ({caller.id})."
        )
        raise RpcError(400, "InvalidAuthenticationInfo", text)
    payload = caller.cose.payload if caller.cose is not None else None
    return answer_submission(context, ops, member_id, payload or b"", _described)


def _described(submission: Submission) -> dict[str, object]:
    return {
        "message": submission.message,
        "submittedCount": submission.submitted_count,
        "recoveryThreshold": submission.threshold,
        "fullKeySubmitted": submission.full_key,
    }


def _share(payload: bytes) -> bytes:
    try:
        share = load_json(payload)["share"]
        return b64decode(share, validate=True)
    except (ValueError, KeyError, TypeError) as error:  # never with the share itself in the text
        raise InvalidInput("The signed payload must be an object whose share is base64 text.") from error


def _encrypted_share(context: Context) -> Response:
    member_id = hex_id(context, "memberId")
    share = encrypted_share(context.tx, member_id)
    if share is None:
        raise ResourceNotFound(f"Recovery share not found for member m[{member_id}].")
    return json_response({"memberId": member_id, "encryptedShare": share})
