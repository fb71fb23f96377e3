"""Ledger secrets by seqno, commit evidence, and the tables that keep them for recovery."""

from base64 import b64decode
from collections.abc import Iterator
from itertools import count

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from dataplane.crypto.aead import DecryptionFailed
from dataplane.crypto.keys import rsa_oaep_decrypt
from dataplane.crypto.shamir import combine, decode_share
from dataplane.ledger.secrets import (
    LedgerSecretCipher,
    LedgerSecrets,
    MalformedSecret,
    SharedSecret,
    UnknownSecret,
    historical_secret,
    node_secrets,
    previous_secret,
    recovery_shares,
    secrets_for_nodes,
    txid_of_evidence,
    unwind,
    unwrap,
)
from dataplane.txid import InvalidTxID, TxID

FIRST, SECOND, THIRD = (bytes([n]) * 32 for n in (1, 2, 3))
MEMBERS = {name * 64: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in "abc"}
PUBLIC = {member: key.public_key() for member, key in MEMBERS.items()}


def words() -> Iterator[int]:
    return (n * 0x9E3779B97F4A7C15 % 2**64 for n in count(1))


def test_the_secret_of_a_seqno() -> None:
    secrets = LedgerSecrets({1: FIRST, 10: SECOND})
    assert [secrets.at(seqno).key for seqno in (1, 9, 10, 99)] == [FIRST, FIRST, SECOND, SECOND]
    with pytest.raises(UnknownSecret):
        LedgerSecrets({5: FIRST}).at(4)
    with pytest.raises(UnknownSecret):
        LedgerSecrets().at(1)
    with pytest.raises(ValueError, match="does not follow"):
        secrets.add(10, THIRD)


def test_rollback_undoes_a_rekey() -> None:
    secrets = LedgerSecrets({1: FIRST})
    secrets.add(11, SECOND)  # a rekey at seqno 10
    secrets.rollback(10)
    assert list(secrets) == [(1, FIRST), (11, SECOND)]
    secrets.rollback(9)
    assert list(secrets) == [(1, FIRST)]


def test_rollback_keeps_what_a_joiner_was_given() -> None:
    secrets = LedgerSecrets({1: FIRST, 11: SECOND})
    secrets.settle()
    secrets.add(21, THIRD)
    secrets.rollback(0)
    assert list(secrets) == [(1, FIRST), (11, SECOND)]


def test_a_recovery_restores_older_secrets() -> None:
    secrets = LedgerSecrets({11: SECOND, 21: THIRD})
    with pytest.raises(ValueError, match="does not come before"):
        secrets.restore({1: FIRST, 15: FIRST})
    secrets.restore({1: FIRST, 11: SECOND})
    assert list(secrets) == [(1, FIRST), (11, SECOND), (21, THIRD)]
    assert secrets.at(10).key == FIRST


def test_a_node_reads_the_secrets_meant_for_it() -> None:
    private = MEMBERS["a" * 64]
    shared = [SharedSecret(None, SECOND), SharedSecret(7, FIRST, 5)]
    value = secrets_for_nodes(shared, {"n0": private.public_key(), "n1": MEMBERS["b" * 64].public_key()})
    assert node_secrets(value, "n0", private) == shared
    assert node_secrets(value, "n9", private) == []
    assert [set(row) for row in value["n0"]] == [
        {"version", "encrypted_secret"},
        {"version", "encrypted_secret", "previous_secret_stored_version"},
    ]
    assert FIRST.hex() not in repr(shared)
    for bad in (value | {"n0": value["n1"]}, {"n0": [{"version": 1}]}, {"n0": 7}, {"n0": [{"encrypted_secret": "?"}]}):
        with pytest.raises(MalformedSecret):
            node_secrets(bad, "n0", private)


def test_secrets_have_32_bytes_and_do_not_show() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        LedgerSecretCipher(b"short")
    assert FIRST.hex() not in repr(LedgerSecretCipher(FIRST)) + repr(LedgerSecrets({1: FIRST}))


def test_evidence_names_its_transaction() -> None:
    evidence = LedgerSecretCipher(FIRST).evidence("2.7")
    assert txid_of_evidence(evidence) == TxID(2, 7)
    assert evidence != LedgerSecretCipher(SECOND).evidence("2.7")
    with pytest.raises(InvalidTxID):
        txid_of_evidence("ce:nonsense")


def test_participants_restore_the_secret_together() -> None:
    value = recovery_shares(FIRST, 2, PUBLIC, {}, words().__next__)
    assert set(value) == {"encrypted_shares", "wrapped_latest_ledger_secret"}
    shares = [
        decode_share(rsa_oaep_decrypt(MEMBERS[member], b64decode(text)))
        for member, text in value["encrypted_shares"].items()
    ]
    assert [(share.x, member[0]) for share, member in zip(shares, value["encrypted_shares"], strict=True)] == [
        (1, "a"), (2, "b"), (3, "c"),
    ]  # fmt: skip
    wrapped = b64decode(value["wrapped_latest_ledger_secret"])
    assert (len(wrapped), wrapped[16:28]) == (60, bytes(12))
    for pair in (shares[:2], shares[1:], shares[::2]):
        assert unwrap(wrapped, combine(pair, 2)) == FIRST
    with pytest.raises(DecryptionFailed):
        unwrap(wrapped, shares[0].limbs)


def test_owners_hold_the_full_key() -> None:
    owner = "c" * 64
    participants = {member: key for member, key in PUBLIC.items() if member != owner}
    value = recovery_shares(FIRST, 2, participants, {owner: PUBLIC[owner]}, words().__next__)
    full = decode_share(rsa_oaep_decrypt(MEMBERS[owner], b64decode(value["encrypted_shares"][owner])))
    assert full.x == 0
    assert unwrap(b64decode(value["wrapped_latest_ledger_secret"]), full.limbs) == FIRST
    alone = recovery_shares(FIRST, 1, {}, {owner: PUBLIC[owner]}, words().__next__)
    assert list(alone["encrypted_shares"]) == [owner]


def test_thresholds_that_do_not_fit() -> None:
    for threshold, participants, owners in ((4, PUBLIC, {}), (0, PUBLIC, {}), (2, {}, PUBLIC), (1, {}, {})):
        with pytest.raises(ValueError, match=r"threshold|nobody"):
            recovery_shares(FIRST, threshold, participants, owners, words().__next__)


def history() -> list[tuple[int, dict[str, object]]]:
    """An opening at 5, a rekey at 20, the end of a recovery at 45 whose secret is valid from 40."""
    iv = bytes(12)
    return [
        (5, historical_secret(next_version=1)),
        (20, historical_secret(previous=previous_secret(FIRST, 1, successor=SECOND, iv=iv, stored_version=5))),
        (45, historical_secret(
            next_version=40, previous=previous_secret(SECOND, 21, successor=THIRD, iv=iv, stored_version=20)
        )),
    ]  # fmt: skip


def test_unwinding_the_chain() -> None:
    assert history()[0][1] == {"next_version": 1}
    assert unwind(THIRD, history()) == [
        SharedSecret(1, FIRST, 5),
        SharedSecret(21, SECOND, 20),
        SharedSecret(40, THIRD, 45),
    ]
    assert unwind(SECOND, history()[:2]) == [SharedSecret(1, FIRST, 5), SharedSecret(21, SECOND, 20)]
    assert unwind(THIRD, history()[2:]) == [SharedSecret(21, SECOND, 20), SharedSecret(40, THIRD, 45)]
    assert unwind(FIRST, history()[:1]) == [SharedSecret(1, FIRST, 5)]
    assert unwind(FIRST, []) == [SharedSecret(1, FIRST)]


def test_a_broken_chain() -> None:
    with pytest.raises(DecryptionFailed):
        unwind(FIRST, history())
    broken = history()
    del broken[2][1]["previous_ledger_secret"]["version"]  # type: ignore[attr-defined]
    with pytest.raises(MalformedSecret, match="45"):
        unwind(THIRD, broken)
    with pytest.raises(ValueError, match="12 bytes"):
        previous_secret(FIRST, 1, successor=SECOND, iv=b"", stored_version=None)
