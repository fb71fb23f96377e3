"""Parsers that are broken on purpose, one in each way the harness must notice: its positive control."""

import os
from collections.abc import Callable
from random import Random

from dataplane.crypto.cose import CoseDecodeError, decode_sign1
from tests.fuzz.corpus import examples
from tests.fuzz.harness import FalselyVerified, Target
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import ALL


def _wrong_exception(data: bytes) -> object:
    return data[8 + data[0]]


def _believes_everything(data: bytes) -> object:
    message = decode_sign1(data)
    if message.payload not in [decode_sign1(example).payload for example in examples("envelopes")]:
        raise FalselyVerified("what this parser takes for signed was not")
    return message


def _never_ends(data: bytes) -> object:
    while data[:1] != b"\xd2":
        pass
    return data


_kept: list[bytes] = []


def _leaks(data: bytes) -> object:
    _kept.append(data + os.urandom(30_000))
    return data


def _keeps_files_open(data: bytes) -> object:
    return os.open("/dev/null", os.O_RDONLY) if len(data) % 50 == 0 else data


def _crashes(data: bytes) -> object:
    if len(data) < 40:
        os.abort()
    return data


def _make(random: Random) -> bytes:
    return mutate(examples("envelopes"), (), random)


_WAYS: dict[str, Callable[[bytes], object]] = {
    "wrong exception": _wrong_exception,
    "believes everything": _believes_everything,
    "never ends": _never_ends,
    "leaks memory": _leaks,
    "keeps files open": _keeps_files_open,
    "crashes": _crashes,
}
BROKEN = {name: Target(f"broken: {name}", _make, parse, (CoseDecodeError,)) for name, parse in _WAYS.items()}

EVERYTHING = {**ALL, **{target.name: target for target in BROKEN.values()}}
