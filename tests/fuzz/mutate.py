"""Mutations of bytes and of JSON values, by a seed: the same seed gives the same mutant on every machine."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_INTERESTING = (0, 1, 2, 7, 8, 16, 31, 32, 63, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31,
                2**32 - 1, 2**48 - 1, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_TEXTS = ("", "0", "-1", "a" * 300, "\ud800", "\x00", "../..", "é", "1" * 30, "{tenantid}", "ff" * 32, "AAAA", "null")
_MAX_SIZE = 1 << 17
_MAX_STACKED = 6

Mutation = Callable[[bytearray, Random, Sequence[bytes], Sequence[bytes]], None]


def mutate(seeds: Sequence[bytes], tokens: Sequence[bytes], random: Random) -> bytes:
    """One of the seeds after one to six random changes; rarely none. `tokens` are pieces that mean something."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((0, 1, 1, 1, 1, 2, 2, 3, 4, _MAX_STACKED))):
        random.choice(_MUTATIONS)(data, random, seeds, tokens)
    return bytes(data[:_MAX_SIZE])


def mutate_json(documents: Sequence[Any], random: Random) -> bytes:
    """One of the values with one to four of its parts replaced, dropped, doubled or moved, as JSON text."""
    value = json.loads(json.dumps(random.choice(documents)))
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        value = _changed(value, random)
    return json.dumps(value).encode()


def _flip(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _insert(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    data[at:at] = random.randbytes(random.choice((1, 1, 2, 4, 8, 40)))


def _delete(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    del data[at : at + random.choice((1, 1, 2, 4, 8, 64, 500))]


def _double(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    piece = data[at : at + random.choice((1, 4, 16, 100, 1000))]
    to = random.randint(0, len(data))
    data[to:to] = piece * random.choice((1, 1, 2, 9))


def _overwrite(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    if data:
        start, to = random.randrange(len(data)), random.randrange(len(data))
        piece = data[start : start + random.choice((1, 4, 8, 32))]
        data[to : to + len(piece)] = piece


def _integer(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    size = random.choice((1, 2, 4, 6, 8))
    if len(data) >= size:
        at = random.randint(0, len(data) - size)
        value = (random.choice(_INTERESTING) + random.choice((0, 0, 0, -1, 1))) % (1 << 8 * size)
        data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _step(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    """A length or offset that is nearly right."""
    size = random.choice((1, 2, 4, 8))
    if len(data) >= size:
        at, order = random.randint(0, len(data) - size), random.choice(("little", "big"))
        value = int.from_bytes(data[at : at + size], order) + random.choice((-8, -2, -1, 1, 2, 8))
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _truncate(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    del data[random.randint(0, len(data)) :]


def _splice(data: bytearray, random: Random, seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    other = random.choice(seeds)
    data[random.randint(0, len(data)) :] = other[random.randint(0, len(other)) :]


def _token(data: bytearray, random: Random, _seeds: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    if tokens:
        at = random.randint(0, len(data))
        data[at : at + random.choice((0, 0, 4))] = random.choice(tokens)


def _digits(data: bytearray, random: Random, _seeds: Sequence[bytes], _tokens: Sequence[bytes]) -> None:
    """Another number where the text has one."""
    places = [index for index, byte in enumerate(data[:4096]) if 0x30 <= byte <= 0x39]
    if places:
        at = random.choice(places)
        data[at : at + 1] = str(random.choice(_INTERESTING)).encode()


_MUTATIONS: Sequence[Mutation] = (
    _flip, _flip, _set, _insert, _delete, _double, _overwrite, _integer, _step, _truncate, _splice, _token, _digits,
)  # fmt: skip


def _changed(value: Any, random: Random) -> Any:
    """`value` with a part of it changed, found by walking down at random."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(sorted(value))
        match random.randrange(8):
            case 0:
                del value[name]
            case 1:
                value[random.choice(_TEXTS)] = value.pop(name)
            case 2:
                value[name] = value[random.choice(sorted(value))]
            case _:
                value[name] = _changed(value[name], random)
        return value
    if isinstance(value, list) and value and random.random() < 0.85:
        index = random.randrange(len(value))
        match random.randrange(6):
            case 0:
                del value[index]
            case 1:
                value.insert(index, value[random.randrange(len(value))])
            case _:
                value[index] = _changed(value[index], random)
        return value
    if isinstance(value, str) and random.random() < 0.6:
        return _changed_text(value, random)
    return _replacement(random)


def _changed_text(text: str, random: Random) -> str:
    at = random.randint(0, len(text))
    match random.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + random.choice(_TEXTS) + text[at:]
        case 2:
            return text[:at] + chr(random.choice((0, 9, 10, 32, 47, 65, 97, 127, 233, 0x20AC))) + text[at + 1 :]
        case 3:
            return text[at:] + text[:at]
        case _:
            return text.swapcase()


def _replacement(random: Random) -> Any:
    match random.randrange(7):
        case 0:
            return None
        case 1:
            return random.choice((True, False))
        case 2:
            return random.choice(_INTERESTING) * random.choice((1, 1, -1))
        case 3:
            return random.choice((0.5, -1.5, 1e308, 5e-324))
        case 4:
            return random.choice(([], {}, [[]], {"": {}}))
        case _:
            return random.choice(_TEXTS)
