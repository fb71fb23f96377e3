"""`did:x509`: which chains and first certificates an identifier names."""

from base64 import urlsafe_b64encode
from hashlib import sha256, sha384, sha512

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dataplane.attestation.did_x509 import UnresolvedDid, resolve
from tests.support.snp import EKU, builder_chain, certificate, der, did, elliptic_key, rsa_key

NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("build.example.org"),
        x509.DNSName("*.wild.example.org"),
        x509.RFC822Name("builder@example.org"),
        x509.UniformResourceIdentifier("https://example.org/a:b"),
    ]
)
FULCIO = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), b"https://issuer.example.org/x")
CHAIN = builder_chain(elliptic_key("leaf"), [NAMES, FULCIO])


def _fingerprint(certificate: bytes, digest: str = "sha256") -> str:
    value = {"sha256": sha256, "sha384": sha384, "sha512": sha512}[digest](certificate).digest()
    return f"did:x509:0:{digest}:{urlsafe_b64encode(value).rstrip(b'=').decode()}"


def test_the_key_is_that_of_the_first_certificate() -> None:
    key = resolve(did(CHAIN), CHAIN)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.public_numbers() == elliptic_key("leaf").public_key().public_numbers()
    assert isinstance(resolve(did(other := builder_chain(rsa_key("leaf"))), other), rsa.RSAPublicKey)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("place", [1, 2])
def test_any_issuer_of_the_chain_may_be_named_by_any_digest(digest: str, place: int) -> None:
    resolve(f"{_fingerprint(CHAIN[place], digest)}::eku:{EKU}", CHAIN)


@pytest.mark.parametrize(
    "policy",
    [
        f"eku:{EKU}",
        f"eku:{EKU}.7",
        f"eku:{EKU}::eku:{EKU}.7",
        "subject:CN:Builder",
        "subject:2.5.4.3:Builder",
        "subject:CN:%42uilder",
        "san:dns:build.example.org",
        "san:dns:%2a.wild.example.org",
        "san:email:builder%40example.org",
        "san:uri:https%3A%2F%2Fexample.org%2Fa%3Ab",
        "fulcio-issuer:issuer.example.org%2Fx",
        f"subject:CN:Builder::san:dns:build.example.org::fulcio-issuer:issuer.example.org%2Fx::eku:{EKU}",
    ],
)
def test_policies_that_are_met(policy: str) -> None:
    resolve(did(CHAIN, policy), CHAIN)


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "eku",
        "eku:",
        f"eku:{EKU}.2",
        f"eku:{EKU}:{EKU}",
        f"eku:{EKU}::eku:{EKU}.2",
        f"eku:{EKU}::",
        "subject",
        "subject:CN",
        "subject:CN:Build",
        "subject:CN:Builder:CN:Builder",
        "subject:CN:Builder:2.5.4.3:Builder",
        "subject:CN:Builder:O:Builder",
        "subject:S:Builder:ST:Builder",
        "subject:XX:Builder",
        "san:dns",
        "san:dns:example.org",
        "san:dns:other.wild.example.org",
        "san:ipaddress:127.0.0.1",
        "san:email:other%40example.org",
        "san:uri:build.example.org",
        "fulcio-issuer:other.example.org",
        "fulcio-issuer:issuer.example.org%2Fx:x",
        "unheard-of:1",
    ],
)
def test_policies_that_are_not(policy: str) -> None:
    with pytest.raises(UnresolvedDid):
        resolve(did(CHAIN, policy), CHAIN)


def test_a_certificate_without_the_extension_meets_no_policy_about_it() -> None:
    chain = builder_chain(elliptic_key("leaf"))
    bare = [der([_leaf(usages=False)])[0], *chain[1:]]
    for policy in ("san:dns:build.example.org", "fulcio-issuer:issuer.example.org"):
        with pytest.raises(UnresolvedDid, match="does not meet"):
            resolve(did(chain, policy), chain)
    with pytest.raises(UnresolvedDid, match="does not meet"):
        resolve(did(bare), bare)
    resolve(did(bare, "subject:CN:Builder"), bare)


def _leaf(*, usages: bool = True, **arguments: bool) -> x509.Certificate:
    extensions = [x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU)])] if usages else []
    middle = rsa_key("middle")
    return certificate(
        "Builder",
        elliptic_key("leaf"),
        "Middle",
        middle,
        ca=False,
        extensions=extensions,
        **arguments,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "did:x509:0:sha256",
        "did:x509:1:sha256:F",
        "did:web:0:sha256:F",
        "DID:x509:0:sha256:F",
        "did:x509:0:sha1:F",
        "did:x509:0:sha256:F:x",
        "did:x509:0:sha256:F=",
        "did:x509:0:sha256:",
    ],
)
def test_other_identifiers_are_refused(prefix: str) -> None:
    with pytest.raises(UnresolvedDid, match=r"begin|fingerprint"):
        resolve(prefix.replace("F", did(CHAIN).split(":")[4]) + f"::eku:{EKU}", CHAIN)
    with pytest.raises(UnresolvedDid, match="no policy"):
        resolve(did(CHAIN).split("::")[0], CHAIN)


def test_the_first_certificate_is_no_issuer() -> None:
    with pytest.raises(UnresolvedDid, match="fingerprint"):
        resolve(f"{_fingerprint(CHAIN[0])}::eku:{EKU}", CHAIN)
    stranger = builder_chain(rsa_key("leaf"))
    with pytest.raises(UnresolvedDid, match="fingerprint"):
        resolve(f"{_fingerprint(b'stranger')}::eku:{EKU}", stranger)


def test_a_certificate_beside_the_way_is_no_issuer() -> None:
    """Somebody else's root, put into the chain, vouches for nothing."""
    other = der([certificate("Other", rsa_key("other"), "Other", rsa_key("other"))])[0]
    with pytest.raises(UnresolvedDid, match="fingerprint"):
        resolve(f"{_fingerprint(other)}::eku:{EKU}", [CHAIN[0], CHAIN[1], other, CHAIN[2]])
    with pytest.raises(UnresolvedDid, match="does not hold"):
        resolve(f"{_fingerprint(other)}::eku:{EKU}", [*CHAIN, other])


def test_chains_that_do_not_hold_are_refused() -> None:
    leaf, middle, root = CHAIN
    chains = [
        [],
        [leaf],
        [leaf, root],
        [leaf, b"", root],
        [leaf, middle + b"\0", root],
        [b"x"] * 3,
    ]
    for chain in chains:
        with pytest.raises(UnresolvedDid, match=r"too short|does not hold|cannot be read|canonical"):
            resolve(did(CHAIN), chain)
    with pytest.raises(UnresolvedDid, match="does not meet"):
        resolve(did(CHAIN), [middle, leaf, root])
    resolve(_fingerprint(middle) + f"::eku:{EKU}", [leaf, middle])


def test_an_issuer_without_authority_is_none() -> None:
    powerless = certificate("Middle", rsa_key("middle"), "Root", rsa_key("root"), ca=False)
    with pytest.raises(UnresolvedDid, match="does not hold"):
        resolve(did(CHAIN), [CHAIN[0], der([powerless])[0], CHAIN[2]])


def test_the_key_may_be_used_for_signatures() -> None:
    chain = [der([_leaf(digital_signature=False)])[0], *CHAIN[1:]]
    with pytest.raises(UnresolvedDid, match="may not be used"):
        resolve(did(chain), chain)
    for key in (ec.generate_private_key(ec.SECP256K1()), ed25519.Ed25519PrivateKey.generate()):
        odd = builder_chain(key)  # type: ignore[arg-type]
        with pytest.raises(UnresolvedDid, match="kind that is not supported"):
            resolve(did(odd), odd)
