"""Chains of certificates: what they may lead to, through what, and when (node-api.md 5.8)."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from dataplane.crypto.chains import is_chain_valid, load_bundle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "middle", "leaf", "other")}


def _certificate(
    subject: str, issuer: str, *, ca: bool, start: datetime = NOW - timedelta(days=1), key_usage: bool | None = None
) -> str:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(f"CN={subject}"))
        .issuer_name(x509.Name.from_rfc4514_string(f"CN={issuer}"))
        .public_key(KEYS[subject].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if key_usage is not None:
        usage = x509.KeyUsage(True, False, False, False, False, key_usage, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(KEYS[issuer], hashes.SHA256()).public_bytes(Encoding.PEM).decode()


ROOT = _certificate("root", "root", ca=True)
MIDDLE = _certificate("middle", "root", ca=True)
LEAF = _certificate("leaf", "middle", ca=False)
OTHER = _certificate("other", "other", ca=True)


@pytest.mark.parametrize(
    ("chain", "trusted", "valid"),
    [
        (MIDDLE, ROOT, True),
        (MIDDLE, MIDDLE, True),
        (LEAF + MIDDLE, ROOT, True),
        (LEAF + OTHER + MIDDLE, ROOT, True),
        (LEAF + MIDDLE, OTHER + ROOT, True),
        (LEAF, MIDDLE, True),
        (ROOT, ROOT, True),
        (LEAF, LEAF, False),
        (LEAF, ROOT, False),
        (LEAF + MIDDLE, OTHER, False),
        (MIDDLE + LEAF, LEAF, False),
        (LEAF + MIDDLE, ROOT + LEAF, False),
        ("", ROOT, False),
        (ROOT, "", False),
        ("text", ROOT, False),
        (ROOT, ROOT + "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", False),
    ],
)
def test_where_a_chain_leads(chain: str, trusted: str, valid: bool) -> None:
    assert is_chain_valid(chain, trusted, NOW) is valid


def test_every_certificate_on_the_way_must_be_valid_now() -> None:
    expired = _certificate("middle", "root", ca=True, start=NOW - timedelta(days=5))
    assert not is_chain_valid(LEAF + expired, ROOT, NOW)
    assert not is_chain_valid(LEAF + MIDDLE, ROOT, NOW + timedelta(days=5))
    assert not is_chain_valid(LEAF + MIDDLE, ROOT, NOW - timedelta(days=5))


def test_what_is_trusted_must_be_allowed_to_sign_certificates() -> None:
    for key_usage in (True, False):
        root = _certificate("root", "root", ca=True, key_usage=key_usage)
        assert is_chain_valid(MIDDLE, root, NOW) is key_usage


def test_the_same_names_with_another_key_lead_nowhere() -> None:
    fake = _certificate("middle", "root", ca=True).replace(MIDDLE, "")
    KEYS["root"], kept = ec.generate_private_key(ec.SECP256R1()), KEYS["root"]
    try:
        assert not is_chain_valid(fake, _certificate("root", "root", ca=True), NOW)
    finally:
        KEYS["root"] = kept


def test_bundles() -> None:
    assert len(load_bundle(ROOT + "\nsome text\n" + LEAF)) == 2
    assert load_bundle("") == []
    assert load_bundle(LEAF.replace("MI", "!!", 1)) == []
