"""Compare a snapshot with a straight replay of its ledger; runs in an environment that holds the public `ccf` package.

    replay_state.py < {"ledger": DIR, "snapshot": FILE, "secrets": {first seqno: hex}, "upto": SEQNO}

The public part is read by `ccf.ledger`, the private part decrypted here with AES-GCM, both put into plain dicts. Prints
how many tables and keys there are and which differ. Uses nothing of the node that is judged.
"""

import json
import struct
import sys
from pathlib import Path

import ccf.ledger
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER, TAG, IV, LENGTH = 8, 16, 12, 8


class Reader:
    """Little-endian fields of a buffer, one after another."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def u64(self):
        (value,) = struct.unpack_from("<Q", self.data, self.at)
        self.at += 8
        return value

    def take(self, size):
        self.at += size
        return self.data[self.at - size : self.at]

    def sized(self):
        return self.take(self.u64())

    def more(self):
        return self.at < len(self.data)


def secret_at(secrets, seqno):
    return secrets[max(version for version in secrets if version <= seqno)]


def domains(frame, secrets, seqno):
    """(public domain, decrypted private domain) of a ledger frame or snapshot."""
    tag, iv = frame[HEADER : HEADER + TAG], frame[HEADER + TAG : HEADER + TAG + IV]
    at = HEADER + TAG + IV
    (size,) = struct.unpack_from("<Q", frame, at)
    public = frame[at + LENGTH : at + LENGTH + size]
    ciphertext = frame[at + LENGTH + size :]
    return public, AESGCM(secret_at(secrets, seqno)).decrypt(iv, ciphertext + tag, public)


def apply(state, table, writes):
    held = state.setdefault(table, {})
    for key, value in writes.items():
        if value is None:
            held.pop(key, None)
        else:
            held[key] = value


def private_writes(domain):
    reader = Reader(domain)
    while reader.more():
        table = reader.sized().decode()
        reader.u64()
        assert reader.u64() == 0
        writes = {}
        for _ in range(reader.u64()):
            key = reader.sized()
            writes[key] = reader.sized()
        writes.update({reader.sized(): None for _ in range(reader.u64())})
        yield table, writes


def replay(ledger, secrets, upto):
    state = {}
    for chunk in ccf.ledger.Ledger([str(ledger)], committed_only=False):
        for transaction in chunk:
            public = transaction.get_public_domain()
            seqno = public.get_seqno()
            if seqno > upto:
                return state
            for table, writes in public.get_tables().items():
                apply(state, table, writes)
            _, private = domains(transaction.get_raw_tx(), secrets, seqno)
            for table, writes in private_writes(private):
                apply(state, table, writes)
    return state


def snapshot_state(path, secrets):
    data = path.read_bytes()
    size = int.from_bytes(data[2:8], "little") + HEADER
    (seqno,) = struct.unpack_from("<Q", data, HEADER + TAG)
    public, private = domains(data[:size], secrets, seqno)
    head = Reader(public)
    head.take(1 + 8 + 8)
    head.sized()
    head.sized()
    state = {}
    for domain in (public[head.at :], private):
        reader = Reader(domain)
        while reader.more():
            table = reader.sized().decode()
            reader.u64()
            state[table] = dict(rows(reader.sized()))
    return seqno, state


def rows(body):
    reader = Reader(body)
    while reader.more():
        size = reader.u64()
        key = reader.take(size)
        reader.take(-size % 8)
        size = reader.u64()
        reader.u64()
        yield key, reader.take(size - 8)
        reader.take(-size % 8)


def main():
    asked = json.load(sys.stdin)
    secrets = {int(version): bytes.fromhex(key) for version, key in asked["secrets"].items()}
    seqno, held = snapshot_state(Path(asked["snapshot"]), secrets)
    replayed = replay(asked["ledger"], secrets, asked.get("upto") or seqno)
    tables = sorted({table for state in (held, replayed) for table, content in state.items() if content})
    differing = [table for table in tables if held.get(table, {}) != replayed.get(table, {})]
    private = [table for table in tables if not table.startswith("public:")]
    json.dump(
        {
            "seqno": seqno,
            "tables": len(tables),
            "private_tables": len(private),
            "keys": sum(len(replayed.get(table, {})) for table in tables),
            "private_keys": sum(len(replayed.get(table, {})) for table in private),
            "differing": differing,
        },
        sys.stdout,
    )


main()
