"""What one 60-byte write costs from write set to ledger, and its parts: CPU of one core.

    python -m tests.bench.bench_codec

Each figure is the best of several repetitions, the least disturbed by others.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat

from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.crypto.cose import ALG, algorithm_of, decode_sign1, sign1, verify_sign1
from dataplane.crypto.keys import sign_digest, verify_digest
from dataplane.kv.writeset import WriteSet
from dataplane.ledger.entry import decode_entry, encode_entry
from dataplane.ledger.files import LedgerFiles
from dataplane.ledger.secrets import LedgerSecretCipher, LedgerSecrets
from dataplane.merkle.tree import MerkleTree
from dataplane.txid import TxID
from tests.bench.rows import Effort, Row, calibrate

SECRET = bytes(range(32))
LEAVES = 100_000


def run(effort: Effort) -> list[Row]:
    """One row per step; a few seconds in all, whatever `effort` says of windows. Uses one temporary directory."""
    with TemporaryDirectory() as directory:
        figures = {
            **_ledger_figures(Path(directory), effort.repeats),
            **_tree_figures(effort.repeats),
            **_signature_figures(effort.repeats),
        }
    return [Row("codec", name, round(us, 2), "us CPU", us) for name, us in figures.items()]


def _ledger_figures(directory: Path, repeats: int) -> dict[str, float]:
    cipher, secrets = LedgerSecretCipher(SECRET), LedgerSecrets({1: SECRET})
    writes: WriteSet = {"records": {b"key1": bytes(60)}}
    frame = encode_entry(TxID(2, 7), writes, secret=cipher).frame
    whole = _Pipeline(directory / "whole", cipher, writes)
    files = LedgerFiles(directory / "files")
    figures = {
        "whole commit (encode, seal, leaf, tree, file)": _best_us(whole.commit, 20_000, repeats),
        "encode and seal an entry": _best_us(lambda: encode_entry(TxID(2, 7), writes, secret=cipher), 20_000, repeats),
        "decode and open an entry": _best_us(lambda: decode_entry(frame, secrets), 20_000, repeats),
        "append a frame to the file": _best_us(lambda: files.append(frame, files.last_seqno + 1), 20_000, repeats),
    }
    whole.files.close()
    files.close()
    return figures


def _tree_figures(repeats: int) -> dict[str, float]:
    tree = MerkleTree()
    leaf = sha256(b"leaf").digest()
    append_us = _best_us(lambda: tree.append(leaf), LEAVES // repeats, repeats)
    size = tree.size
    return {
        "append a leaf": append_us,
        f"root of {size} leaves": _best_us(tree.root, 2_000, repeats),
        f"path in {size} leaves": _best_us(lambda: tree.path(size // 3, size), 2_000, repeats),
        "serialise the newest 1000 leaves": _best_us(lambda: tree.serialise(size - 1000, size - 1), 500, repeats),
    }


def _signature_figures(repeats: int) -> dict[str, float]:
    key = ec.generate_private_key(ec.SECP384R1())
    root = sha256(b"root").digest()
    signature = sign_digest(key, root)
    protected = [(ALG, algorithm_of(key))]
    message = decode_sign1(sign1(key, protected, root))
    return {
        "sign a root (P-384)": _best_us(lambda: sign_digest(key, root), 50, repeats),
        "verify a root (P-384)": _best_us(lambda: verify_digest(key.public_key(), signature, root), 50, repeats),
        "COSE sign": _best_us(lambda: sign1(key, protected, root, detached=True), 50, repeats),
        "COSE verify": _best_us(lambda: verify_sign1(message, key.public_key()), 50, repeats),
    }


class _Pipeline:
    """Everything a commit does to one write set, TxID by TxID."""

    def __init__(self, directory: Path, cipher: LedgerSecretCipher, writes: WriteSet) -> None:
        self.files = LedgerFiles(directory)
        self._tree = MerkleTree()
        self._cipher = cipher
        self._writes = writes
        self._seqno = 0

    def commit(self) -> None:
        self._seqno += 1
        entry = encode_entry(TxID(2, self._seqno), self._writes, secret=self._cipher)
        self._tree.append(entry.leaf)
        self.files.append(entry.frame, self._seqno)


def _best_us(call: Callable[[], object], count: int, repeats: int) -> float:
    return min(repeat(call, timer=time.process_time, number=count, repeat=repeats)) / count * 1e6


if __name__ == "__main__":
    loop_us = calibrate()
    for row in run(Effort(repeats=5)):
        print(f"{row.value:>10} {row.unit}  {row.ratio(loop_us):8.4f}  {row.name}")
