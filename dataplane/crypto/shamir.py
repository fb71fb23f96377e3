"""Secret sharing over the integers modulo 2^31 - 1 (ledger-format.md 6.3).

A secret is ten independent field elements, *limbs*. Each limb is the constant term of a random polynomial of degree
threshold - 1; share x holds the ten values at x. The number x = 0 marks a full key: the secret itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct

from dataplane.crypto.hkdf import hkdf_sha256

PRIME = 2**31 - 1
LIMBS = 10
SHARE_SIZE = 4 + 4 * LIMBS

_SHARE = Struct(f"<{1 + LIMBS}I")
_SECRET = Struct(f"<{LIMBS}I")


class InvalidShare(ValueError):
    """Bytes that are no share, or shares that cannot be combined."""


@dataclass(frozen=True, slots=True)
class Share:
    """The values at `x` of the ten polynomials; `x` = 0 for the full key. `repr` leaves the limbs out."""

    x: int
    limbs: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Share(x={self.x})"


def draw_secret(draw: Callable[[], int]) -> tuple[int, ...]:
    """Ten random limbs; `draw` gives random 64-bit words."""
    return tuple(_draw_element(draw) for _ in range(LIMBS))


def split(secret: Sequence[int], count: int, threshold: int, draw: Callable[[], int]) -> list[Share]:
    """Shares 1..count of `secret` (ten limbs), any `threshold` of which restore it; `draw` gives random 64-bit words.

    Raises `ValueError` unless 1 <= threshold <= count and the secret has ten limbs below 2^31 - 1.
    """
    if not 1 <= threshold <= count:
        raise ValueError(f"a threshold of {threshold} does not fit {count} shares")
    if len(secret) != LIMBS or not all(0 <= limb < PRIME for limb in secret):
        raise ValueError(f"a secret is {LIMBS} limbs below 2^31 - 1")
    polynomials = [(limb, *(_draw_element(draw) for _ in range(threshold - 1))) for limb in secret]
    return [Share(x, tuple(_evaluate(p, x) for p in polynomials)) for x in range(1, count + 1)]


def combine(shares: Sequence[Share], threshold: int) -> tuple[int, ...]:
    """The secret from the first `threshold` of `shares`; raises `InvalidShare` for too few, doubles or full keys."""
    if threshold < 1 or len(shares) < threshold:
        raise InvalidShare(f"{len(shares)} shares are fewer than the threshold of {threshold}")
    used = shares[:threshold]
    xs = [share.x for share in used]
    if len(set(xs)) != len(xs):
        raise InvalidShare("two shares have the same number")
    if 0 in xs:
        raise InvalidShare("a full key is no share")
    weights = [_weight_at_zero(x, xs) for x in xs]
    return tuple(
        sum(weight * share.limbs[limb] for weight, share in zip(weights, used, strict=True)) % PRIME
        for limb in range(LIMBS)
    )


def encode_share(share: Share) -> bytes:
    """44 bytes: x, then the limbs, each u32 little-endian."""
    return _SHARE.pack(share.x, *share.limbs)


def decode_share(data: bytes) -> Share:
    """The inverse of `encode_share`; raises `InvalidShare`."""
    if len(data) != SHARE_SIZE:
        raise InvalidShare(f"a share has {SHARE_SIZE} bytes, not {len(data)}")
    x, *limbs = _SHARE.unpack(data)
    if any(limb >= PRIME for limb in limbs):
        raise InvalidShare("a limb is not below 2^31 - 1")
    return Share(x, tuple(limbs))


def wrapping_key(secret: Sequence[int]) -> bytes:
    """The 32-byte key that wraps the ledger secret; HKDF whose `info` equals its key material."""
    material = _SECRET.pack(*secret)
    return hkdf_sha256(material, info=material)


def _draw_element(draw: Callable[[], int]) -> int:
    while (element := draw() & PRIME) == PRIME:
        pass
    return element


def _evaluate(polynomial: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % PRIME
    return value


def _weight_at_zero(x: int, xs: Sequence[int]) -> int:
    numerator = denominator = 1
    for other in xs:
        if other != x:
            numerator = numerator * other % PRIME
            denominator = denominator * (other - x) % PRIME
    return numerator * pow(denominator, -1, PRIME) % PRIME
