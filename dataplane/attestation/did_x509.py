"""`did:x509`: an identifier that names a certificate of a chain, and what its first certificate must say.

The method's specification is that of the IETF draft `did-x509`; ledger-format.md 8.7 says how it is used. Values are
compared as a whole, as the specification has it.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256, sha384, sha512
from typing import TypeVar
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from dataplane.crypto.certs import InvalidCertificate, load_certificate
from dataplane.crypto.chains import InvalidChain, timeless_chain

_E = TypeVar("_E", bound=x509.ExtensionType)
LeafKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "sha256": lambda data: sha256(data).digest(),
    "sha384": lambda data: sha384(data).digest(),
    "sha512": lambda data: sha512(data).digest(),
}
_SUBJECT_KEYS = {
    "CN": NameOID.COMMON_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "S": NameOID.STATE_OR_PROVINCE_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "STREET": NameOID.STREET_ADDRESS,
}
_ALTERNATIVE_NAMES: Mapping[str, type[x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier]] = {
    "dns": x509.DNSName,
    "email": x509.RFC822Name,
    "uri": x509.UniformResourceIdentifier,
}
_FULCIO_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


class UnresolvedDid(ValueError):
    """The chain is none, or not one that the identifier names."""


def resolve(did: str, chain: Sequence[bytes]) -> LeafKey:
    """The key an identifier stands for, given a chain of DER certificates that begins with its holder's.

    Times of validity do not matter. Raises `UnresolvedDid`.
    """
    try:
        leaf_der, *above = timeless_chain(chain)
        leaf = load_certificate(leaf_der)
    except (InvalidChain, InvalidCertificate) as error:
        raise UnresolvedDid(str(error)) from error
    prefix, *policies = did.split("::")
    _check_fingerprint(prefix, above)
    if not policies:
        raise UnresolvedDid("The DID names no policy")
    try:
        for policy in policies:
            _check_policy(policy, leaf)
        return _signing_key(leaf)
    except UnresolvedDid:
        raise
    except Exception as error:  # extensions that cannot be read have the library's own types
        raise UnresolvedDid(f"The first certificate cannot be read: {error!r}") from error


def _check_fingerprint(prefix: str, above: Sequence[bytes]) -> None:
    match prefix.split(":"):
        case ["did", "x509", "0", algorithm, fingerprint] if algorithm in _DIGESTS:
            digest = _DIGESTS[algorithm]
        case _:
            raise UnresolvedDid("The DID does not begin with did:x509:0, a digest and a fingerprint")
    if fingerprint not in [urlsafe_b64encode(digest(certificate)).rstrip(b"=").decode() for certificate in above]:
        raise UnresolvedDid("The DID's fingerprint is that of no issuer in the chain")


def _check_policy(policy: str, leaf: x509.Certificate) -> None:
    name, *values = policy.split(":")
    match name:
        case "eku" if len(values) == 1:
            met = values[0] in _key_usages(leaf)
        case "subject" if values and len(values) % 2 == 0:
            met = _has_subject(leaf, values)
        case "san" if len(values) == 2:
            met = _has_alternative_name(leaf, values[0], unquote(values[1]))
        case "fulcio-issuer" if len(values) == 1:
            met = _fulcio_issuer(leaf) == f"https://{unquote(values[0])}".encode()
        case _:
            raise UnresolvedDid(f"The DID's policy {policy!r} is not known")
    if not met:
        raise UnresolvedDid(f"The first certificate does not meet the DID's policy {policy!r}")


def _key_usages(leaf: x509.Certificate) -> list[str]:
    found = _extension(leaf, x509.ExtendedKeyUsage)
    return [] if found is None else [usage.dotted_string for usage in found]


def _has_subject(leaf: x509.Certificate, values: Sequence[str]) -> bool:
    """`values`: key and value by turns; no attribute may be named twice."""
    keys = [_SUBJECT_KEYS.get(key) or x509.ObjectIdentifier(key) for key in values[::2]]
    if len(set(keys)) != len(keys):
        raise UnresolvedDid("The DID names an attribute of the subject twice")
    return all(
        unquote(value) in [attribute.value for attribute in leaf.subject.get_attributes_for_oid(key)]
        for key, value in zip(keys, values[1::2], strict=True)
    )


def _has_alternative_name(leaf: x509.Certificate, kind: str, value: str) -> bool:
    if kind not in _ALTERNATIVE_NAMES:
        raise UnresolvedDid(f"The DID asks for an alternative name of the unknown kind {kind!r}")
    found = _extension(leaf, x509.SubjectAlternativeName)
    return found is not None and value in found.get_values_for_type(_ALTERNATIVE_NAMES[kind])


def _fulcio_issuer(leaf: x509.Certificate) -> bytes | None:
    """The extension holds bare text, no DER."""
    try:
        found = leaf.extensions.get_extension_for_oid(_FULCIO_ISSUER).value
    except x509.ExtensionNotFound:
        return None
    return found.value if isinstance(found, x509.UnrecognizedExtension) else None


def _signing_key(leaf: x509.Certificate) -> LeafKey:
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.key_agreement):
        raise UnresolvedDid("The first certificate's key may not be used for signatures")
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    raise UnresolvedDid("The first certificate's key is of a kind that is not supported")


def _extension(leaf: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return leaf.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
