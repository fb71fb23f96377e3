"""Real ledgers among the vectors: their frames, and their secrets unwrapped with the members' test keys."""

from base64 import b64decode
from pathlib import Path
from typing import Any

from dataplane.crypto.keys import cert_id, load_rsa_private_key, rsa_oaep_decrypt
from dataplane.crypto.shamir import SHARE_SIZE, combine, decode_share
from dataplane.kv.tables import (
    HISTORICAL_ENCRYPTED_LEDGER_SECRET,
    RECOVERY_SHARES,
    SERVICE_CONFIG,
    UNIT_KEY,
    load_json,
)
from dataplane.ledger.chunk import parse_name, read_layout
from dataplane.ledger.entry import DecodedEntry, decode_entry
from dataplane.ledger.secrets import LedgerSecrets, unwind, unwrap


def chunk_files(ledger: Path) -> list[Path]:
    """The chunks of a ledger directory, open ones included, in order."""
    named = [(name.first, path) for path in ledger.iterdir() if (name := parse_name(path.name)) is not None]
    return [path for _, path in sorted(named)]


def frames_of(ledger: Path) -> list[bytes]:
    """All frames of a ledger, by seqno from 1."""
    frames = []
    for path in chunk_files(ledger):
        data = path.read_bytes()
        layout = read_layout(data)
        frames += [data[slice(*layout.bounds(index))] for index in range(len(layout.positions))]
    return frames


def unwrap_secrets(frames: list[bytes], common: Path) -> LedgerSecrets:
    """All ledger secrets of a service, from the last shares its ledger holds and the members' keys in `common`."""
    entries = [decode_entry(frame) for frame in frames]
    shares_seqno, shares = [row for row in _writes(entries, RECOVERY_SHARES) if _is_current_form(row[1], common)][-1]
    threshold = [row for row in _writes(entries, SERVICE_CONFIG) if row[0] <= shares_seqno][-1][1]["recovery_threshold"]
    secret = combine([decode_share(share) for share in _decrypted_shares(shares, common)], threshold)
    latest = unwrap(b64decode(shares["wrapped_latest_ledger_secret"]), secret)
    history = [row for row in _writes(entries, HISTORICAL_ENCRYPTED_LEDGER_SECRET) if row[0] <= shares_seqno]
    return LedgerSecrets({secret.version or 1: secret.key for secret in unwind(latest, history)})


def _is_current_form(shares: dict[str, Any], common: Path) -> bool:
    return all(len(share) == SHARE_SIZE for share in _decrypted_shares(shares, common))


def _decrypted_shares(shares: dict[str, Any], common: Path) -> list[bytes]:
    decrypted = []
    for certificate in sorted(common.glob("member*_cert.pem")):
        encrypted = shares["encrypted_shares"].get(cert_id(certificate.read_bytes()))
        if encrypted is not None:
            private_key = certificate.with_name(certificate.name.replace("_cert.pem", "_enc_privk.pem"))
            decrypted.append(rsa_oaep_decrypt(load_rsa_private_key(private_key.read_bytes()), b64decode(encrypted)))
    return decrypted


def _writes(entries: list[DecodedEntry], table: str) -> list[tuple[int, Any]]:
    """(seqno, value) of every write of a single-value table."""
    rows = [(entry.txid.seqno, entry.writes.get(table, {}).get(UNIT_KEY)) for entry in entries]
    return [(seqno, load_json(value)) for seqno, value in rows if value is not None]
