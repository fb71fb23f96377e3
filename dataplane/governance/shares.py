"""Recovery shares: who gets one, and when a service has enough holders to open (ledger-format.md 6.3, 6.4).

Pure. The ledger secret and random words come from the caller. New shares supersede the old ones whole: each issue
draws a fresh wrapping key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dataplane.config import RecoveryRole
from dataplane.crypto.keys import InvalidKey, RsaPublicKey, load_rsa_public_key
from dataplane.governance.members import recovery_holders
from dataplane.kv.tables import ENCRYPTED_LEDGER_SECRETS, RECOVERY_SHARES, SERVICE_CONFIG, UNIT_KEY, get_json, put_json
from dataplane.kv.tx import Tx
from dataplane.ledger.secrets import recovery_shares
from dataplane.txid import MemberId


class SharesNotPossible(ValueError):
    """No shares can be made of the ledger secret."""


class TooFewHolders(SharesNotPossible):
    """The active recovery members do not fit the recovery threshold."""


class UnusableKey(SharesNotPossible):
    """A member's encryption key is no RSA key, or too short."""


@dataclass(frozen=True, slots=True)
class LatestSecret:
    """The newest ledger secret: 32 bytes, and the seqno it is valid from."""

    version: int
    key: bytes = field(repr=False)


def issue_shares(tx: Tx, ledger_secret: bytes, draw: Callable[[], int]) -> None:
    """Wrap `ledger_secret` (32 bytes) and write a share for every active recovery member.

    `draw` gives random 64-bit words. Raises `TooFewHolders` or `UnusableKey`, before anything is written.
    """
    tx.get(ENCRYPTED_LEDGER_SECRETS, UNIT_KEY)  # depend on it: a rekey meanwhile would make this secret an old one
    participants = recovery_holders(tx, RecoveryRole.PARTICIPANT)
    owners = recovery_holders(tx, RecoveryRole.OWNER)
    threshold = recovery_threshold(tx)
    check_holders(len(participants), len(owners), threshold)
    shares = recovery_shares(ledger_secret, threshold, _load(participants), _load(owners), draw)
    put_json(tx, RECOVERY_SHARES, shares)


def check_holders(participants: int, owners: int, threshold: int) -> None:
    """Whether shares can be made (node-api.md 4.2); raises `TooFewHolders` saying what is missing."""
    if threshold < 1:
        raise TooFewHolders(f"the recovery threshold is {threshold}, it must be at least 1")
    if participants == 0 and owners > 0:
        if threshold != 1:
            raise TooFewHolders(f"with recovery owners only, the threshold must be 1, not {threshold}")
        return
    if participants < threshold:
        raise TooFewHolders(
            f"{participants} active recovery participants are fewer than the recovery threshold of {threshold}"
        )


def recovery_threshold(tx: Tx) -> int:
    """The number of shares that restore the ledger secret."""
    config = get_json(tx, SERVICE_CONFIG) or {}
    return int(config.get("recovery_threshold", 0))


def initial_threshold(configured: int, participants: int, owners: int) -> int:
    """The threshold of a new service: 0 stands for all participants, or 1 with owners only (node-api.md 4.2).

    Raises `TooFewHolders` for a threshold that even all initial members together could not meet.
    """
    threshold = configured if configured else participants or min(owners, 1)
    if participants or owners or configured:
        check_holders(participants, owners, threshold)
    return threshold


def encrypted_share(tx: Tx, member_id: MemberId) -> str | None:
    """The member's share (base64 of RSA-OAEP), or None when it has none."""
    shares = get_json(tx, RECOVERY_SHARES) or {}
    share = shares.get("encrypted_shares", {}).get(member_id)
    return None if share is None else str(share)


def _load(keys: Mapping[MemberId, str]) -> dict[MemberId, RsaPublicKey]:
    loaded: dict[MemberId, RsaPublicKey] = {}
    for member_id, pem in keys.items():
        try:
            loaded[member_id] = load_rsa_public_key(pem)
        except InvalidKey as error:
            raise UnusableKey(f"the encryption key of member {member_id} cannot be used: {error}") from error
    return loaded
