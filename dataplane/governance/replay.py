"""The window of recent proposals, which keeps a signed proposal from being submitted twice (node-api.md 4.3).

A proposal's key is its `created_at` and the digest of its signature. The window holds the newest keys, at most
`window_size`; a proposal older than the middle of the window is refused, since its key might have left it already. So
is one that would be the first to leave a full window: with many proposals of one second the middle alone would let it
in again.
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
    if window and _is_too_old(window, key, is_full=len(window) >= window_size(tx)):
        middle_s = _created_at(_middle(window))
        text = f"Proposal created too long ago: its time is {created_at_s}, the oldest accepted is {middle_s}"
        raise RpcError(400, "ProposalCreatedTooLongAgo", text)
    put_json(tx, COSE_RECENT_PROPOSALS, proposal_id, key)
    _drop_oldest(tx, [*(known for known, _ in window), key])


def window_size(tx: Tx) -> int:
    """How many proposals the service remembers."""
    config = get_json(tx, SERVICE_CONFIG) or {}
    return int(config.get("recent_cose_proposals_window_size", DEFAULT_WINDOW_SIZE))


def _is_too_old(window: list[tuple[bytes, bytes]], key: bytes, *, is_full: bool) -> bool:
    return _created_at(key) < _created_at(_middle(window)) or (is_full and key < window[0][0])


def _middle(window: list[tuple[bytes, bytes]]) -> bytes:
    return window[len(window) // 2][0]


def _drop_oldest(tx: Tx, keys: list[bytes]) -> None:
    surplus = max(0, len(keys) - window_size(tx))
    for key in sorted(keys)[:surplus]:
        tx.remove(COSE_RECENT_PROPOSALS, key)


def _created_at(key: bytes) -> int:
    return int(key.split(b":", 1)[0])
