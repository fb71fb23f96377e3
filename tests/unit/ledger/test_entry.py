"""Entries: the worked example of ledger-format.md 10.1, and what is refused."""

from collections.abc import Callable
from hashlib import sha256

import pytest

from dataplane.crypto.aead import DecryptionFailed
from dataplane.ledger.entry import (
    NO_CLAIMS,
    DecodedEntry,
    EntryFlags,
    EntryType,
    MalformedEntry,
    check_evidence,
    decode_entry,
    encode_entry,
    frame_size,
    frame_txid,
    leaf_of,
    reencode_entry,
)
from dataplane.ledger.secrets import LedgerSecretCipher, LedgerSecrets, UnknownSecret
from dataplane.txid import TxID

KEY = bytes(range(32))
CIPHER = LedgerSecretCipher(KEY)
SECRETS = LedgerSecrets({1: KEY})
WRITES = {"public:records": {b"1": b'"hi"'}, "records": {b"k": b"v"}}
PUBLIC_DOMAIN = (
    "04" "0700000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "e878b8d1368bc6f554bca263e37b4f213995ffa73d7a88d111285b2a47139ef0"
    "0000000000000000"
    "0e00000000000000" "7075626c69633a7265636f726473"
    "0000000000000000" "0000000000000000"
    "0100000000000000" "0100000000000000" "31" "0400000000000000" "22686922"
    "0000000000000000"
)  # fmt: skip
FRAME = bytes.fromhex(
    "01" "00" "010100000000"
    "0d990e29efacd0b0d74cae756d3d7602"
    "0700000000000000" "02000000"
    "9c00000000000000"
    + PUBLIC_DOMAIN
    + "2860b022581a2c830b9e39d2c7122cb454f67e8e10d358f57616781c7d358ef4"
    "7003d1104b6981bc943b0e147fb2ba2418e57a91971da268bbfcf331bec9d0f740"
)  # fmt: skip
EVIDENCE = "ce:2.7:c1b206e9faa7aed319d14b40a6bb2817733f2a768ad010b181ffd7bb11064e90"


def test_the_worked_example() -> None:
    entry = encode_entry(TxID(2, 7), WRITES, secret=CIPHER)
    assert entry.frame == FRAME
    assert entry.write_set_digest.hex() == "0ffa1ceb58357da3cf336dac48473b5e011f8e6c4b7c0c77306d23fc23d58884"
    assert entry.leaf.hex() == "1abb4fd220209ca1e9fab1a474cfd60dd7420384bdb0f570cc582cff4353bdb1"
    assert entry.evidence == EVIDENCE


def test_reading_it_back() -> None:
    entry = decode_entry(FRAME, SECRETS)
    assert entry == DecodedEntry(
        txid=TxID(2, 7),
        flags=EntryFlags.NONE,
        entry_type=EntryType.WITH_EVIDENCE_AND_CLAIMS,
        writes=WRITES,
        claims_digest=NO_CLAIMS,
        commit_evidence_digest=sha256(EVIDENCE.encode()).digest(),
        max_conflict_version=0,
        write_set_digest=sha256(FRAME).digest(),
        leaf=encode_entry(TxID(2, 7), WRITES, secret=CIPHER).leaf,
    )
    assert check_evidence(entry, CIPHER) == EVIDENCE
    assert decode_entry(FRAME).writes == {"public:records": {b"1": b'"hi"'}}
    assert (frame_size(FRAME), frame_txid(FRAME)) == ((265, 0), TxID(2, 7))
    assert reencode_entry(entry, CIPHER) == FRAME


def test_claims_and_flags_travel() -> None:
    claims = sha256(b"claims").digest()
    frame = encode_entry(TxID(3, 8), {}, secret=CIPHER, claims_digest=claims, flags=EntryFlags.CHUNK_BEFORE).frame
    entry = decode_entry(frame, SECRETS)
    assert (entry.claims_digest, entry.flags, entry.writes) == (claims, EntryFlags.CHUNK_BEFORE, {})


def test_removals_travel_in_both_domains() -> None:
    writes = {"public:t": {b"a": None, b"b": b""}, "t": {b"x": None}}
    assert decode_entry(encode_entry(TxID(2, 9), writes, secret=CIPHER).frame, SECRETS).writes == writes


@pytest.mark.parametrize("entry_type", [0, 2, 3])
def test_older_types_are_written_again(entry_type: int) -> None:
    entry = DecodedEntry(
        txid=TxID(2, 7),
        flags=EntryFlags.NONE,
        entry_type=EntryType(entry_type),
        writes=WRITES,
        claims_digest=bytes(range(32)) if entry_type == 2 else None,
        commit_evidence_digest=bytes(range(32)) if entry_type == 3 else None,
        max_conflict_version=6,
        write_set_digest=b"",
        leaf=b"",
    )
    frame = reencode_entry(entry, CIPHER)
    again = decode_entry(frame, SECRETS)
    assert (again.entry_type, again.writes, again.max_conflict_version) == (entry_type, WRITES, 6)
    assert reencode_entry(again, CIPHER) == frame
    digest = sha256(frame).digest()
    assert again.leaf == (digest if entry_type == 0 else sha256(digest + bytes(range(32))).digest())


def test_leaf_rules() -> None:
    a, b, c = (bytes([n]) * 32 for n in (1, 2, 3))
    assert leaf_of(a, None, None) == a
    assert leaf_of(a, b, None) == sha256(a + b).digest()
    assert leaf_of(a, b, c) == sha256(a + b + c).digest()


def changed(offset: int, value: int) -> bytes:
    return FRAME[:offset] + bytes([value]) + FRAME[offset + 1 :]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "header is cut off"),
        (FRAME[:7], "header is cut off"),
        (FRAME[:-1], "announces 265 bytes, 264 are there"),
        (FRAME + b"\0", "announces 265 bytes, 266 are there"),
        (changed(0, 2), "version 2"),
        (changed(1, 4), "unknown flags 0x04"),
        (b"\x01\x00\x10\x00\x00\x00\x00\x00" + bytes(16), "too short"),
        (changed(35, 0x80), "out of range"),
        (changed(32, 0), "view 0 is out of range"),
        (changed(24, 8), "seqno 7 in the public domain, 8 in the header"),
        (FRAME[:24] + bytes(8) + FRAME[32:45] + bytes(8) + FRAME[53:], "seqno 0"),
        (changed(38, 1), "does not fit"),
        (changed(44, 9), "cannot be read"),
        (changed(44, 1), "snapshot"),
        (changed(36, 20), "cannot be read"),
        (changed(36, 0x9B), "end"),
    ],
)
def test_malformed_frames(frame: bytes, reason: str) -> None:
    with pytest.raises(MalformedEntry, match=reason):
        decode_entry(frame, SECRETS)


@pytest.mark.parametrize("offset", [8, 23, 26, 60, 150, 210, 264])
def test_changed_bytes_do_not_decrypt(offset: int) -> None:
    with pytest.raises((DecryptionFailed, MalformedEntry)):
        decode_entry(changed(offset, FRAME[offset] ^ 1), SECRETS)


def test_the_right_secret_is_needed() -> None:
    with pytest.raises(UnknownSecret):
        decode_entry(FRAME, LedgerSecrets({8: KEY}))
    with pytest.raises(DecryptionFailed):
        decode_entry(FRAME, LedgerSecrets({1: bytes(32)}))


def test_tables_in_the_wrong_domain_are_refused() -> None:
    frame = reencode_entry(decode_entry(FRAME, SECRETS), CIPHER)
    swapped = frame.replace(b"public:records", b"sealed:records")
    with pytest.raises(MalformedEntry, match="wrong domain"):
        decode_entry(swapped)


def test_foreign_evidence_is_noticed() -> None:
    entry = decode_entry(FRAME, SECRETS)
    with pytest.raises(MalformedEntry, match=r"commit evidence of 2\.7"):
        check_evidence(entry, LedgerSecretCipher(bytes(32)))


@pytest.mark.parametrize(
    "encode",
    [
        lambda: encode_entry(TxID(2**31, 1), {}, secret=CIPHER),
        lambda: encode_entry(TxID(0, 1), {}, secret=CIPHER),
        lambda: encode_entry(TxID(2, 1), {}, secret=CIPHER, claims_digest=b"short"),
    ],
)
def test_what_cannot_be_stored(encode: Callable[[], object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - three texts, one meaning
        encode()
