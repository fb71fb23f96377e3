"""Private RSA keys that are converted and not used: all that makes one, but for the search for its primes."""

from dataclasses import dataclass
from math import gcd

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from dataplane.crypto.asymmetric import (
    load_rsa_private,
    load_rsa_private_to_convert,
    private_pem,
    rsa_private_to_convert,
)
from dataplane.crypto.jwk import rsa_private_jwk, rsa_private_key
from dataplane.crypto.keys import InvalidKey
from tests.support.snp import rsa_key

KEY = rsa_key("convert")
NUMBERS = KEY.private_numbers()


@dataclass(frozen=True)
class Parts:
    """What a private key is made of."""

    p: int = NUMBERS.p
    q: int = NUMBERS.q
    d: int = NUMBERS.d
    dmp1: int = NUMBERS.dmp1
    dmq1: int = NUMBERS.dmq1
    iqmp: int = NUMBERS.iqmp
    e: int = NUMBERS.public_numbers.e
    n: int = NUMBERS.public_numbers.n

    def numbers(self) -> rsa.RSAPrivateNumbers:
        """As the library takes them."""
        public = rsa.RSAPublicNumbers(self.e, self.n)
        return rsa.RSAPrivateNumbers(self.p, self.q, self.d, self.dmp1, self.dmq1, self.iqmp, public)


def test_a_key_comes_through_unchanged() -> None:
    assert rsa_private_to_convert(Parts().numbers()).private_numbers() == NUMBERS
    loaded = load_rsa_private_to_convert(private_pem(KEY).encode())
    assert private_pem(rsa_private_key(rsa_private_jwk(loaded))) == private_pem(KEY)


@pytest.mark.parametrize(
    "parts",
    [
        Parts(d=NUMBERS.d + 2),
        Parts(dmp1=NUMBERS.dmp1 + 2),
        Parts(dmq1=NUMBERS.dmq1 + 2),
        Parts(iqmp=NUMBERS.iqmp + 1),
        Parts(p=NUMBERS.p + 2),
        Parts(p=0),
        Parts(p=1, q=NUMBERS.public_numbers.n),
        Parts(p=NUMBERS.q, q=NUMBERS.p),
        Parts(e=3),
        Parts(n=NUMBERS.public_numbers.n + 2),
        Parts(d=NUMBERS.d + NUMBERS.public_numbers.n),
        Parts(p=1 << 4_000_000, q=1 << 4_000_000, n=1 << 8_000_000, d=(1 << 8_000_000) - 1),
    ],
    ids=range(12),
)
def test_numbers_that_do_not_fit_are_refused(parts: Parts) -> None:
    with pytest.raises(InvalidKey, match="do not belong together"):
        rsa_private_to_convert(parts.numbers())


def test_what_is_no_private_rsa_key_is_refused() -> None:
    elliptic = private_pem(ec.generate_private_key(ec.SECP384R1()))
    for text in (elliptic, "", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"):
        with pytest.raises(InvalidKey):
            load_rsa_private_to_convert(text.encode())


def test_factors_that_are_not_prime_are_found_when_the_key_is_used() -> None:
    """A key somebody made up can be written, and not loaded to sign."""
    made_up = _composite()
    pem = private_pem(rsa_private_to_convert(made_up)).encode()
    assert load_rsa_private_to_convert(pem).private_numbers() == made_up
    with pytest.raises(InvalidKey):
        load_rsa_private(pem)


def _composite() -> rsa.RSAPrivateNumbers:
    """Consistent numbers whose first factor is a product."""
    p, q = NUMBERS.p * NUMBERS.q, rsa_key("other").private_numbers().p
    both = (p - 1) * (q - 1)
    e = next(e for e in (65537, 257, 17, 7, 5) if gcd(e, both) == 1)
    d = pow(e, -1, both)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q))
