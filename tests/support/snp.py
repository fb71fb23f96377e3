"""A maker of SEV-SNP chips of our own, and of code for them: so the checks behind the pinned keys can be reached."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from dataplane.attestation.snp import verify_report
from dataplane.attestation.snp_report import REPORT_SIZE, SIGNED_SIZE, Report
from dataplane.attestation.snp_tcb import Product
from dataplane.crypto.cose import encode_sign1

SAMPLE = Path(__file__).parents[1] / "vectors" / "snp"
"""A real report whose code is endorsed: `SAMPLE_FILES` in the order the JavaScript function takes them."""
SAMPLE_FILES = ("milan_attestation.bin", "milan_endorsements.pem", "uvm_endorsements.cose")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEASUREMENT = bytes(range(48))
HOST_DATA = bytes(range(100, 132))
CHIP_ID = bytes(range(64))
TCB = bytes([4, 1, 0, 0, 0, 0, 24, 219])
TURIN_TCB = bytes([7, 4, 1, 24, 0, 0, 0, 219])
FAMILY_MODEL_STEPPING = {
    Product.MILAN: bytes([0x19, 0x01, 0x01]),
    Product.GENOA: bytes([0x19, 0x11, 0x01]),
    Product.TURIN: bytes([0x1A, 0x01, 0x01]),
}
SPL = {"blSPL": (1, 4), "teeSPL": (2, 1), "snpSPL": (3, 24), "ucodeSPL": (8, 219)}
"""Extensions of the VCEK by their last number, with the values `TCB` has."""
TURIN_SPL = SPL | {"fmcSPL": (9, 7)}

_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_AMD = "1.3.6.1.4.1.3704.1"

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def sample() -> list[bytes]:
    """Report, certificates and UVM endorsements of a real machine."""
    return [(SAMPLE / name).read_bytes() for name in SAMPLE_FILES]


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One key a name, made once."""
    return rsa.generate_private_key(65537, 2048)


@cache
def elliptic_key(name: str) -> ec.EllipticCurvePrivateKey:
    """One key on P-384 a name, made once."""
    return ec.generate_private_key(ec.SECP384R1())


def certificate(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    ca: bool = True,
    pss: bool = False,
    extensions: Sequence[x509.ExtensionType] = (),
    days: int = 3650,
    digital_signature: bool = True,
    start: datetime = NOW - timedelta(days=1),
) -> x509.Certificate:
    """A certificate that the strict rules of RFC 5280 accept."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(1 + int.from_bytes(sha256(subject.encode()).digest()[:8], "big"))
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(_usage(sign=digital_signature, certify=ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA384(), rsa_padding=_PSS if pss else None)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, sign: bool, certify: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certify,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True)
class Chip:
    """A chip and its makers. `spl`: extensions of its certificate, as in `SPL`; `chip_id` None leaves that one out."""

    product: Product = Product.MILAN
    spl: Mapping[str, tuple[int, int]] = field(default_factory=lambda: SPL)
    chip_id: bytes | None = CHIP_ID
    vcek: Key = field(default_factory=lambda: elliptic_key("VCEK"))
    days: int = 3650

    def chain(self) -> list[x509.Certificate]:
        """VCEK, ASK and ARK."""
        ark, ask = rsa_key("ARK"), rsa_key("ASK")
        extensions = [_integer_extension(number, value) for number, value in self.spl.values()]
        if self.chip_id is not None:
            extensions.append(x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{_AMD}.4"), self.chip_id))
        return [
            certificate("VCEK", self.vcek, "ASK", ask, ca=False, pss=True, extensions=extensions, days=self.days),
            certificate("ASK", ask, "ARK", ark, pss=True),
            certificate("ARK", ark, "ARK", ark, pss=True),
        ]

    def endorsements(self) -> bytes:
        """The chain in PEM."""
        return pem(self.chain())

    def root_keys(self) -> dict[Product, str]:
        """To be pinned in place of the real ones."""
        der = rsa_key("ARK").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {self.product: sha256(der).hexdigest()}

    def report(self, changes: Mapping[int, bytes] | None = None) -> bytes:
        """A good report with bytes at some offsets replaced, signed afterwards where they are before the signature."""
        data = bytearray(REPORT_SIZE)
        fields = {
            0x000: (3).to_bytes(4, "little"),
            0x008: (0x3001F).to_bytes(8, "little"),
            0x034: (1).to_bytes(4, "little"),
            0x090: MEASUREMENT,
            0x0C0: HOST_DATA,
            0x180: TURIN_TCB if self.product is Product.TURIN else TCB,
            0x188: FAMILY_MODEL_STEPPING[self.product],
            0x1A0: CHIP_ID,
        }
        changes = changes or {}
        for offset, value in {**fields, **{at: v for at, v in changes.items() if at < SIGNED_SIZE}}.items():
            data[offset : offset + len(value)] = value
        data[SIGNED_SIZE:] = self._signature(bytes(data[:SIGNED_SIZE]))
        for offset, value in changes.items():
            if offset >= SIGNED_SIZE:
                data[offset : offset + len(value)] = value
        return bytes(data)

    def verified(self, changes: Mapping[int, bytes] | None = None, endorsed_tcb: str | None = None) -> Report:
        """The verified report with these changes; raises what the verification does."""
        report, endorsements = self.report(changes), self.endorsements()
        return verify_report(report, endorsements, NOW, endorsed_tcb=endorsed_tcb, root_keys=self.root_keys())

    def _signature(self, data: bytes) -> bytes:
        if not isinstance(self.vcek, ec.EllipticCurvePrivateKey):
            return bytes(512)
        r, s = decode_dss_signature(self.vcek.sign(data, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)


def _integer_extension(number: int, value: int) -> x509.UnrecognizedExtension:
    body = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{_AMD}.3.{number}"), bytes([2, len(body)]) + body)


def pem(chain: Sequence[x509.Certificate]) -> bytes:
    """Certificates one after the other."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in chain)


def der(chain: Sequence[x509.Certificate]) -> list[bytes]:
    """Certificates one by one."""
    return [one.public_bytes(Encoding.DER) for one in chain]


EKU = "1.3.6.1.4.1.99999.1"


def builder_chain(leaf_key: Key, extensions: Sequence[x509.ExtensionType] = (), **leaf: bool | int) -> list[bytes]:
    """The DER chain of somebody who builds code: leaf, intermediate and root. `leaf`: as for `certificate`."""
    usages = x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU), x509.ObjectIdentifier(f"{EKU}.7")])
    root, middle = rsa_key("root"), rsa_key("middle")
    own = certificate("Builder", leaf_key, "Middle", middle, ca=False, extensions=[usages, *extensions], **leaf)  # type: ignore[arg-type]
    return der([own, certificate("Middle", middle, "Root", root), certificate("Root", root, "Root", root)])


def did(chain: Sequence[bytes], policy: str = f"eku:{EKU}") -> str:
    """The identifier that names the last certificate of a chain."""
    return f"did:x509:0:sha256:{urlsafe_b64encode(sha256(chain[-1]).digest()).rstrip(b'=').decode()}::{policy}"


def endorse(
    key: Key,
    chain: Sequence[bytes],
    payload: object,
    headers: Mapping[int | str, object] | None = None,
    *,
    without: int | str | None = None,
) -> bytes:
    """UVM endorsements of a payload (JSON, or bytes as they are). `headers` replace the good ones."""
    protected: dict[int | str, object] = {
        1: -38 if isinstance(key, rsa.RSAPrivateKey) else -35,
        3: "application/json",
        33: list(chain),
        "iss": did(chain),
        "feed": "Feed",
        **(headers or {}),
    }
    if without is not None:
        del protected[without]
    protected_bytes = cbor2.dumps(protected)
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = cbor2.dumps(["Signature1", protected_bytes, b"", content])
    return encode_sign1(protected_bytes, {"timestamp": b"then"}, content, _sign(key, signed))


def _sign(key: Key, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PSS, hashes.SHA384())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")
