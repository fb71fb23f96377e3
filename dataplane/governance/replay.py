"""The window of recent proposals, which keeps a signed proposal from being submitted twice (node-api.md 4.3).

A proposal's key is its `created_at` and the digest of its signature. The window holds the newest keys, at most
`window_size`; a proposal older than the middle of the window is refused, since its key might have left it already.
"""

from dataplane.errors import RpcError
from dataplane.kv.tables import COSE_RECENT_PROPOSALS, SERVICE_CONFIG, get_json, load_json, put_json
from dataplane.kv.tx import Tx

DEFAULT_WINDOW_SIZE = 100
LAST_CREATED_AT = 9_999_999_999
"""Keys sort as text, so the time must fit ten digits."""


def remember_proposal(tx: Tx, created_at_s: int, request_digest: bytes, proposal_id: str) -> None:
    """Add a proposal to the window; raises `RpcError` 400 when it is a repeat, too old, or its time is no time."""
    if created_at_s > LAST_CREATED_AT:
        raise RpcError(400, "InvalidCreatedAt", f"created_at {created_at_s} has more than ten digits")
    key = f"{created_at_s:010d}:{request_digest.hex()}".encode()
    window = tx.items(COSE_RECENT_PROPOSALS)
    for known, value in window:
        if known == key:
            raise RpcError(400, "ProposalReplay", f"Proposal submission replay, already exists as {load_json(value)}")
    if window:
        oldest_accepted_s = _created_at(window[len(window) // 2][0])
        if created_at_s < oldest_accepted_s:
            raise RpcError(
                400,
                "ProposalCreatedTooLongAgo",
                f"Proposal created too long ago: {created_at_s} is before {oldest_accepted_s}",
            )
    put_json(tx, COSE_RECENT_PROPOSALS, proposal_id, key)
    _drop_oldest(tx, [*(known for known, _ in window), key])


def window_size(tx: Tx) -> int:
    """How many proposals the service remembers."""
    config = get_json(tx, SERVICE_CONFIG) or {}
    return int(config.get("recent_cose_proposals_window_size", DEFAULT_WINDOW_SIZE))


def _drop_oldest(tx: Tx, keys: list[bytes]) -> None:
    surplus = max(0, len(keys) - window_size(tx))
    for key in sorted(keys)[:surplus]:
        tx.remove(COSE_RECENT_PROPOSALS, key)


def _created_at(key: bytes) -> int:
    return int(key.split(b":", 1)[0])
