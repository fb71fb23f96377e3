"""What a node reads from disk or is configured with: ledger chunks and entries, trees, snapshots, configurations."""

import json
import shutil
import tempfile
from atexit import register
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from dataplane.client.audit import Selection
from dataplane.client.ledger_check import Verdict, check_ledger
from dataplane.config import ConfigError, parse_config
from dataplane.crypto.aead import DecryptionFailed
from dataplane.kv.writeset import MalformedWriteSet, decode_maps, encode_maps
from dataplane.ledger.chunk import MalformedChunk, read_layout
from dataplane.ledger.chunk_faults import read_damaged_layout, torn_end
from dataplane.ledger.entry import HEADER_SIZE, MalformedEntry, decode_entry, reencode_entry
from dataplane.ledger.secrets import LedgerSecrets, UnknownSecret
from dataplane.ledger.snapshot import MalformedSnapshot, decode_snapshot, split_file
from dataplane.merkle.tree import MalformedTree, MerkleTree
from dataplane.receipt import InvalidReceipt
from dataplane.snapshot_proof import verify_snapshot
from tests.fuzz.corpus import examples, facts, secret
from tests.fuzz.harness import FalselyVerified, Target
from tests.fuzz.mutate import mutate, mutate_json

_LENGTHS = (b"\x00" * 8, b"\xff" * 8, b"\x01" + bytes(7), b"\x08" + bytes(7), b"public:ccf.internal.tree", b"public:")


class Refused(Exception):
    """Raised here where a check says no without an exception."""


@cache
def _ledger_secrets() -> LedgerSecrets:
    return LedgerSecrets({1: secret("ledger")})


@cache
def _snapshot_secrets() -> LedgerSecrets:
    return LedgerSecrets({1: secret("snapshot")})


# Entries


def _entry(data: bytes) -> object:
    """With the secret an entry is what was written; without it, its own encoding leads back to it."""
    plain = decode_entry(data)
    try:
        entry = decode_entry(data, _ledger_secrets())
    except (DecryptionFailed, UnknownSecret):
        return plain
    if data[HEADER_SIZE:] not in [frame[HEADER_SIZE:] for frame in examples("frames")]:
        raise FalselyVerified("an entry opens under a secret that never sealed it")
    assert reencode_entry(entry, _ledger_secrets().at(entry.txid.seqno)) == data
    return entry


def _entry_mutant(random: Random) -> bytes:
    return mutate(examples("frames"), _LENGTHS, random)


def _maps(data: bytes) -> object:
    writes = decode_maps(data)
    assert decode_maps(encode_maps(writes)) == {name: rows for name, rows in writes.items() if rows}
    return writes


def _maps_mutant(random: Random) -> bytes:
    return mutate(examples("write sets"), _LENGTHS, random)


def _tree(data: bytes) -> object:
    tree = MerkleTree.deserialise(data)
    assert tree.serialise(tree.flushed, tree.size - 1) == data
    tree.root(), tree.path(tree.flushed, tree.size), tree.append(bytes(32)), tree.root()
    return tree


def _tree_mutant(random: Random) -> bytes:
    return mutate(examples("trees"), (bytes(32), b"\xff" * 8), random)


# Whole files


@cache
def _directory() -> Path:
    """One directory for all inputs of a process, in memory where there is such a place."""
    shared = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="mccf-fuzz-", dir=shared if shared.is_dir() else None))
    register(shutil.rmtree, path, ignore_errors=True)
    return path


def _ledger_file(data: bytes) -> object:
    """A ledger that is verified holds a beginning of what was written, byte for byte.

    The flags of the newest entry are covered by nothing: they say where a file ends, not what is in the ledger.
    """
    layout = _damaged(data)
    if layout is None:
        raise Refused
    path = _directory() / "ledger" / "ledger_1"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    check = check_ledger(Selection([path.parent]), secrets=_ledger_secrets())
    if check.verdict is not Verdict.VERIFIED:
        raise Refused
    positions = read_layout(data)
    frames = [data[slice(*positions.bounds(index))] for index in range(len(positions.positions))]
    genuine = examples("frames")[: len(frames)]
    if frames[:-1] != genuine[:-1] or _but_flags(frames) != _but_flags(genuine):
        raise FalselyVerified("a ledger verifies that was never written")
    return check


def _damaged(data: bytes) -> object:
    try:
        layout, fault = read_damaged_layout(data)
    except MalformedChunk:
        return None
    torn_end(data, layout)
    return layout, fault


def _but_flags(frames: list[bytes]) -> bytes:
    return frames[-1][:1] + frames[-1][2:] if frames else b""


def _ledger_mutant(random: Random) -> bytes:
    return mutate(examples("chunks"), _LENGTHS, random)


def _snapshot_file(data: bytes) -> object:
    frame = split_file(data).frame
    genuine = frame == examples("snapshots")[2]
    decode_snapshot(frame).tree()
    with suppress(DecryptionFailed, UnknownSecret):
        decode_snapshot(frame, _snapshot_secrets())
        if not genuine:
            raise FalselyVerified("a snapshot opens under a secret that never sealed it")
    verified = verify_snapshot(data, facts("snapshot certificate"))
    if not genuine or str(verified.evidence) != facts("snapshot evidence"):
        raise FalselyVerified("a snapshot verifies that the ledger does not vouch for")
    return verified


def _snapshot_mutant(random: Random) -> bytes:
    return mutate(examples("snapshots"), (*_LENGTHS, b"{", b"\xd2\x84"), random)


# Configurations


@cache
def _configurations() -> list[Any]:
    network = {
        "node_to_node_interface": {"bind_address": "127.0.0.1:0", "published_address": ""},
        "rpc_interfaces": {
            "main": {
                "bind_address": "127.0.0.1:0",
                "endorsement": {"authority": "Service"},
                "http_configuration": {"max_body_size": "1MB", "max_header_size": "16KB", "max_headers_count": 256},
                "max_open_sessions_soft": 1000,
                "accepted_endpoints": ["/node/.*"],
                "redirections": {"to_primary": {"kind": "NodeByRole", "target": {"role": "primary"}}},
            }
        },
    }
    start = {
        "members": [{"certificate_file": "m.pem", "encryption_public_key_file": "e.pem", "data_json_file": None}],
        "constitution_files": ["actions.js"],
        "service_configuration": {"recovery_threshold": 1, "maximum_node_certificate_validity_days": 365},
        "cose_signatures": {"issuer": "i", "subject": "s"},
    }
    join = {"target_rpc_address": "127.0.0.1:8000", "retry_timeout": "1s", "fetch_recent_snapshot": True}
    shared = {
        "network": network,
        "node_certificate": {
            "subject_name": "CN=CCF Node",
            "subject_alt_names": ["dNSName:x"],
            "curve_id": "Secp384R1",
        },
        "ledger": {"directory": "0.ledger", "read_only_directories": [], "chunk_size": "40KB"},
        "snapshots": {"directory": "0.snapshots", "tx_count": 50},
        "consensus": {"message_timeout": "100ms", "election_timeout": "5000ms", "max_uncommitted_tx_count": 0},
        "ledger_signatures": {"tx_count": 5000, "delay": "200ms"},
        "jwt": {"key_refresh_interval": "30min"},
        "output_files": {"pid_file": "node.pid"},
        "tick_interval": "10ms",
        "logging": {"format": "Text"},
        "ignore_first_sigterm": False,
    }
    return [
        {**shared, "command": {"type": "Start", "service_certificate_file": "s.pem", "start": start}},
        {**shared, "command": {"type": "Join", "join": join}},
    ]


def _configuration(data: bytes) -> object:
    return parse_config(json.loads(data))


def _configuration_mutant(random: Random) -> bytes:
    return mutate_json(_configurations(), random)


TARGETS = (
    Target("entries", _entry_mutant, _entry, (MalformedEntry,), weight=110),
    Target("write sets", _maps_mutant, _maps, (MalformedWriteSet,), weight=100),
    Target("trees", _tree_mutant, _tree, (MalformedTree,), weight=60),
    Target("ledgers", _ledger_mutant, _ledger_file, (Refused,), weight=15),
    Target("snapshots", _snapshot_mutant, _snapshot_file, (MalformedSnapshot, InvalidReceipt), weight=60),
    Target("configurations", _configuration_mutant, _configuration, (ConfigError,), weight=90),
)
