"""SipHash-2-4 against the contract's examples and a plain implementation written from the paper."""

import random

from dataplane.crypto.siphash import siphash_all

_MASK = (1 << 64) - 1


def plain_siphash(key: bytes, k0: int = 0x7720796F726C694B, k1: int = 0x2165726568207361) -> int:
    """One hash, step by step."""

    def rotl(x: int, b: int) -> int:
        return (x << b | x >> (64 - b)) & _MASK

    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & _MASK
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & _MASK
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & _MASK
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & _MASK
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    tail = len(key) // 8 * 8
    words = [int.from_bytes(key[i : i + 8], "little") for i in range(0, tail, 8)]
    words.append(int.from_bytes(key[tail:], "little") | (len(key) & 0xFF) << 56)
    for word in words:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_the_plain_one_is_the_papers() -> None:
    """SipHash paper, appendix A."""
    key = bytes(range(16))
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    assert plain_siphash(bytes(range(15)), k0, k1) == 0xA129CA6149BE45E5


def test_examples_of_the_contract() -> None:
    """ledger-format.md 5.3."""
    assert siphash_all([bytes(8), b"1", b"10"]) == {
        bytes(8): 0xE2B6AAB3A6B9FF73,
        b"1": 0x16FE3376445BD015,
        b"10": 0xB25DFF17CE9C5EAB,
    }


def test_keys_of_all_lengths_and_more_of_them_than_fit_into_one_batch() -> None:
    rng = random.Random(5)
    keys = {rng.randbytes(length) for length in range(300)} | {rng.randbytes(6) for _ in range(3000)}
    hashes = siphash_all(keys)
    assert hashes.keys() == keys
    assert all(plain_siphash(key) == found for key, found in hashes.items())


def test_no_keys() -> None:
    assert siphash_all([]) == {}
