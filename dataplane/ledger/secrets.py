"""Ledger secrets: which one belongs to a seqno, commit evidence, and how they are stored (ledger-format.md 2.2, 6).

A secret is 32 bytes, valid from a seqno until the next one. Random bytes and words are given by the caller.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Any

from dataplane.crypto.aead import IV_SIZE, AesGcm, open_blob, seal_blob
from dataplane.crypto.keys import InvalidKey, RsaPrivateKey, RsaPublicKey, rsa_oaep_decrypt, rsa_oaep_encrypt
from dataplane.crypto.shamir import Share, draw_secret, encode_share, split, wrapping_key
from dataplane.txid import MemberId, NodeId, TxID

_COMMIT_SECRET_LABEL = b"Commit S"  # only the first eight bytes of the original's label reach its HMAC
_HMAC_BLOCK_SIZE = 64
_FULL_KEY = 0


class UnknownSecret(ValueError):
    """No secret covers the seqno."""


class MalformedSecret(ValueError):
    """A table value that should hold an encrypted secret does not."""


class LedgerSecretCipher:
    """One ledger secret, ready to encrypt entries and to give commit evidence. `repr` does not show it."""

    __slots__ = ("_inner", "_outer", "aes", "key")

    def __init__(self, key: bytes) -> None:
        """`key` has 32 bytes."""
        self.key = key
        self.aes = AesGcm(key)
        commit_secret = hmac_digest(key, _COMMIT_SECRET_LABEL, "sha256").ljust(_HMAC_BLOCK_SIZE, b"\0")
        # HMAC by hand from two prepared states: a third of the time of `hmac.digest`, once per transaction
        self._inner = sha256(bytes(b ^ 0x36 for b in commit_secret))
        self._outer = sha256(bytes(b ^ 0x5C for b in commit_secret))

    def evidence(self, txid: str) -> str:
        """The commit evidence `ce:<view>.<seqno>:<nonce>` of the transaction `view.seqno`."""
        inner = self._inner.copy()
        inner.update(txid.encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        return f"ce:{txid}:{outer.hexdigest()}"


class LedgerSecrets:
    """The secrets of a service by the first seqno each is valid for."""

    def __init__(self, first: Mapping[int, bytes] | None = None) -> None:
        self._versions: list[int] = []
        self._ciphers: list[LedgerSecretCipher] = []
        self._settled_version = 0
        for version, key in sorted((first or {}).items()):
            self.add(version, key)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(first seqno, key) pairs, ascending."""
        return iter([(version, cipher.key) for version, cipher in zip(self._versions, self._ciphers, strict=True)])

    def at(self, seqno: int) -> LedgerSecretCipher:
        """The secret valid at `seqno`; raises `UnknownSecret`."""
        index = bisect_right(self._versions, seqno)
        if index == 0:
            raise UnknownSecret(f"no ledger secret covers seqno {seqno}")
        return self._ciphers[index - 1]

    def add(self, version: int, key: bytes) -> None:
        """`key` (32 bytes) is valid from seqno `version` on; versions only grow."""
        if self._versions and version <= self._versions[-1]:
            raise ValueError(f"a secret from {version} does not follow the one from {self._versions[-1]}")
        self._versions.append(version)
        self._ciphers.append(LedgerSecretCipher(key))

    @property
    def newest(self) -> tuple[int, bytes] | None:
        """(first seqno, key) of the newest secret, None without any."""
        return (self._versions[-1], self._ciphers[-1].key) if self._versions else None

    def has(self, version: int) -> bool:
        """Whether a secret begins at seqno `version`."""
        return version in self._versions

    def settle(self) -> None:
        """No rollback takes what is known now: a joiner is given secrets of entries it does not hold yet."""
        self._settled_version = max(self._versions, default=0)

    def restore(self, older: Mapping[int, bytes]) -> None:
        """Add the secrets of a service before its recovery; those that are known already are skipped.

        Raises `ValueError` for one that does not come before what is known.
        """
        missing = sorted((version, key) for version, key in older.items() if version not in self._versions)
        if missing and self._versions and missing[-1][0] > self._versions[0]:
            raise ValueError(f"a secret from {missing[-1][0]} does not come before the one from {self._versions[0]}")
        self._versions[:0] = [version for version, _ in missing]
        self._ciphers[:0] = [LedgerSecretCipher(key) for _, key in missing]

    def rollback(self, seqno: int) -> None:
        """Forget secrets that a transaction after `seqno` introduced; those valid from `seqno + 1` on stay."""
        keep = bisect_right(self._versions, max(seqno + 1, self._settled_version))
        del self._versions[keep:], self._ciphers[keep:]


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A secret as one node hands it to others. `version` is its first seqno, None for the seqno after this write.

    `stored_version`: seqno of the historical table's write that was current while the secret was in use.
    """

    version: int | None
    key: bytes = field(repr=False)
    stored_version: int | None = None


def recovery_shares(
    ledger_secret: bytes,
    threshold: int,
    participants: Mapping[MemberId, RsaPublicKey],
    owners: Mapping[MemberId, RsaPublicKey],
    draw: Callable[[], int],
) -> dict[str, Any]:
    """The `recovery_shares` value: `ledger_secret` under a fresh wrapping key, a share of it to every member.

    `draw` gives random 64-bit words. Participants are numbered 1.. in the order of their ids; owners get the full key
    (ledger-format.md 6.3, 6.4). Raises `ValueError` when the threshold does not fit.
    """
    secret = draw_secret(draw)
    count = len(participants) or 1  # owners alone: one share that nobody gets
    if not participants and not owners:
        raise ValueError("nobody could hold a recovery share")
    shares = split(secret, count, threshold, draw)
    holders = [
        *((member, participants[member], share) for member, share in zip(sorted(participants), shares, strict=False)),
        *((member, owners[member], Share(_FULL_KEY, secret)) for member in sorted(owners)),
    ]
    return {
        "encrypted_shares": {
            member: _b64(rsa_oaep_encrypt(key, encode_share(share))) for member, key, share in holders
        },
        "wrapped_latest_ledger_secret": _b64(wrap(ledger_secret, secret)),
    }


def historical_secret(*, next_version: int | None = None, previous: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The `historical_encrypted_ledger_secret` value (ledger-format.md 6.5).

    First opening: `next_version` 1 alone. Rekey: `previous` alone. End of recovery: both.
    """
    value: dict[str, Any] = {}
    if next_version is not None:
        value["next_version"] = next_version
    if previous is not None:
        value["previous_ledger_secret"] = dict(previous)
    return value


def previous_secret(
    key: bytes, version: int, *, successor: bytes, iv: bytes, stored_version: int | None
) -> dict[str, Any]:
    """A secret under its successor. `stored_version`: seqno of the previous write of the historical table."""
    if len(iv) != IV_SIZE:
        raise ValueError(f"an IV has {IV_SIZE} bytes, not {len(iv)}")
    value: dict[str, Any] = {"encrypted_data": _b64(seal_blob(successor, iv, key)), "version": version}
    if stored_version is not None:
        value["previous_secret_stored_version"] = stored_version
    return value


def secrets_for_nodes(secrets: Sequence[SharedSecret], nodes: Mapping[NodeId, RsaPublicKey]) -> dict[str, Any]:
    """The `encrypted_ledger_secrets` value: `secrets` to the encryption key of each node (ledger-format.md 6.6)."""
    return {node_id: [_for_node(secret, nodes[node_id]) for secret in secrets] for node_id in sorted(nodes)}


def node_secrets(value: Mapping[str, Any], node_id: NodeId, key: RsaPrivateKey) -> list[SharedSecret]:
    """What an `encrypted_ledger_secrets` value holds for one node; empty where it is not named.

    Raises `MalformedSecret` for a row that cannot be read, or was encrypted to another key.
    """
    try:
        return [
            SharedSecret(
                row["version"],
                rsa_oaep_decrypt(key, b64decode(row["encrypted_secret"], validate=True)),
                row.get("previous_secret_stored_version"),
            )
            for row in value.get(node_id, ())
        ]
    except (KeyError, TypeError, AttributeError, Base64Error, InvalidKey) as error:
        raise MalformedSecret(f"the secrets for node {node_id} cannot be read: {error!r}") from error


def _for_node(secret: SharedSecret, key: RsaPublicKey) -> dict[str, Any]:
    row: dict[str, Any] = {"version": secret.version, "encrypted_secret": _b64(rsa_oaep_encrypt(key, secret.key))}
    if secret.stored_version is not None:
        row["previous_secret_stored_version"] = secret.stored_version
    return row


def wrap(ledger_secret: bytes, secret: Sequence[int]) -> bytes:
    """`ledger_secret` under the wrapping key of ten limbs: 60 bytes. The IV is zero as the key is used once."""
    return seal_blob(wrapping_key(secret), bytes(IV_SIZE), ledger_secret)


def unwrap(wrapped: bytes, secret: Sequence[int]) -> bytes:
    """The inverse of `wrap`; raises `DecryptionFailed` when the limbs are not the ones it was wrapped with."""
    return open_blob(wrapping_key(secret), wrapped)


def unwind(latest: bytes, history: Sequence[tuple[int, Mapping[str, Any]]]) -> list[SharedSecret]:
    """All secrets, ascending, from the latest one and the writes of the historical table.

    `history` holds (seqno, value) ascending, up to the write that was current when `latest` was shared. From each write
    the walk goes to the one that introduced the secret it holds, so that a write made twice does no harm. Raises
    `DecryptionFailed` or `MalformedSecret` where the chain breaks.
    """
    introduced = {version_introduced(seqno, value): (seqno, value) for seqno, value in history}
    if not introduced:
        return [SharedSecret(1, latest)]
    version = max(introduced)
    secrets = [SharedSecret(version, latest, introduced[version][0])]
    while version in introduced:
        seqno, value = introduced.pop(version)
        previous = value.get("previous_ledger_secret")
        if previous is None:
            break
        try:
            key = open_blob(secrets[-1].key, b64decode(previous["encrypted_data"], validate=True))
            version = previous["version"]
        except (KeyError, TypeError, Base64Error) as error:
            raise MalformedSecret(f"the secret written at {seqno} cannot be read: {error}") from error
        stored = introduced[version][0] if version in introduced else previous.get("previous_secret_stored_version")
        secrets.append(SharedSecret(version, key, stored))
    return secrets[::-1]


def version_introduced(seqno: int, value: Mapping[str, Any]) -> int:
    """First seqno of the secret that came into use with the historical table's write at `seqno`."""
    return int(value.get("next_version") or seqno + 1)


def evidence_digest(evidence: str) -> bytes:
    """SHA-256 of the evidence text: what the ledger shows before the transaction is committed."""
    return sha256(evidence.encode()).digest()


def txid_of_evidence(evidence: str) -> TxID:
    """The transaction id inside commit evidence; raises `InvalidTxID` for text of another form."""
    return TxID.parse(evidence.removeprefix("ce:").partition(":")[0])


def _b64(data: bytes) -> str:
    return b64encode(data).decode()
