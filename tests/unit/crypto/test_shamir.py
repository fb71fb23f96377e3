"""Secret sharing against the worked example of ledger-format.md 10.3."""

from itertools import combinations

import pytest

from dataplane.crypto.aead import DecryptionFailed, open_blob, seal_blob
from dataplane.crypto.shamir import (
    LIMBS,
    PRIME,
    InvalidShare,
    Share,
    combine,
    decode_share,
    draw_secret,
    encode_share,
    split,
    wrapping_key,
)

SECRET = tuple(1000003 * (limb + 1) for limb in range(LIMBS))
SLOPES = [7777777 * (limb + 3) for limb in range(LIMBS)]
SHARES = [
    "01000000164c73014a3cf9017e2c7f02b21c0503e60c8b031afd10044eed960482dd1c05b6cda205eabd2806",
    "02000000e955d7020ef4d3033392d0045830cd057dcec906a26cc607c70ac308eca8bf091147bc0a36e5b80b",
    "03000000bc5f3b04d2abae05e8f72107fe4395081490080a2adc7b0b4028ef0c5674620e6cc0d50f820c4911",
]
LEDGER_SECRET = bytes(range(32))
WRAPPED = (
    "858295a0aace826e31e1cc58a57e0df5" + "00" * 12 + "3610f3c490c087ae3d1c91204645b822d7d67d63a0dbbb1ae933aff06c27fe7c"
)


def test_the_worked_example() -> None:
    shares = split(SECRET, 3, 2, iter(SLOPES).__next__)
    assert [encode_share(share).hex() for share in shares] == SHARES
    full = "0000000043420f0086841e00c9c62d000c093d004f4b4c00928d5b00d5cf6a0018127a005b5489009e969800"
    assert encode_share(Share(0, SECRET)).hex() == full
    assert wrapping_key(SECRET).hex() == "724f45d12d4e5e11f63781c270bdcd43f33ba9bf58359e84c580e2765c2bb538"
    assert seal_blob(wrapping_key(SECRET), bytes(12), LEDGER_SECRET).hex() == WRAPPED


def test_any_two_shares_open_the_secret() -> None:
    shares = [decode_share(bytes.fromhex(text)) for text in SHARES]
    for some in combinations(shares, 2):
        assert open_blob(wrapping_key(combine(some, 2)), bytes.fromhex(WRAPPED)) == LEDGER_SECRET
    assert combine(shares, 2) == SECRET
    wrong = wrapping_key(combine(shares[:1], 1))
    with pytest.raises(DecryptionFailed):
        open_blob(wrong, bytes.fromhex(WRAPPED))
    with pytest.raises(DecryptionFailed):
        open_blob(wrong, bytes(27))


def test_shares_that_cannot_be_combined() -> None:
    one, two, _ = (decode_share(bytes.fromhex(text)) for text in SHARES)
    for shares, threshold in (([one], 2), ([one, one], 2), ([Share(0, SECRET), two], 2), ([], 0)):
        with pytest.raises(InvalidShare):
            combine(shares, threshold)


def test_splits_that_make_no_sense() -> None:
    for count, threshold in ((3, 0), (2, 3), (0, 1)):
        with pytest.raises(ValueError, match="threshold"):
            split(SECRET, count, threshold, lambda: 1)
    for secret in (SECRET[:-1], (*SECRET[:-1], PRIME)):
        with pytest.raises(ValueError, match="limbs"):
            split(secret, 3, 2, lambda: 1)


def test_malformed_shares() -> None:
    good = bytes.fromhex(SHARES[0])
    for bad in (good[:-1], good + b"\0", b"", good[:4] + b"\xff\xff\xff\x7f" + good[8:]):
        with pytest.raises(InvalidShare):
            decode_share(bad)


def test_random_words_are_cut_to_the_field() -> None:
    words = iter([PRIME, (1 << 64) - 1, (5 << 31) | 7, *range(9)])
    assert draw_secret(words.__next__) == (7, *range(9))


def test_a_share_does_not_show_itself() -> None:
    assert repr(Share(3, SECRET)) == "Share(x=3)"
