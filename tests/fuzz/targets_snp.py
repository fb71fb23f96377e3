"""Evidence of SEV-SNP machines. A mutant that passes must hold what the chip, or the maker of the code, signed."""

from base64 import b64decode
from functools import cache
from random import Random

from dataplane.attestation.snp import UnverifiedReport, verify_report
from dataplane.attestation.snp_report import SIGNED_SIZE
from dataplane.attestation.snp_tcb import Product
from dataplane.attestation.uvm import UnverifiedEndorsements, UvmEndorsements, verify_uvm_endorsements
from dataplane.crypto.cose import decode_sign1
from dataplane.crypto.der import DerDecodeError, certificate_extensions
from tests.fuzz.corpus import examples, facts
from tests.fuzz.harness import FalselyVerified, Target
from tests.fuzz.mutate import mutate
from tests.support.snp import MEASUREMENT, NOW


@cache
def _root_keys() -> dict[Product, str]:
    return {Product(name): digest for name, digest in facts("SNP root keys").items()}


def _report(data: bytes) -> object:
    (good,), (endorsements,) = examples("SNP reports"), examples("SNP endorsements")
    report = verify_report(data, endorsements, NOW, root_keys=_root_keys())
    if data[:SIGNED_SIZE] != good[:SIGNED_SIZE]:
        raise FalselyVerified("the chip did not sign this report")
    return report


def _ders(pem: bytes) -> list[bytes]:
    bodies = pem.decode("ascii").split("-----BEGIN CERTIFICATE-----")[1:]
    return [b64decode("".join(body.partition("-----END")[0].split())) for body in bodies]


def _endorsements(data: bytes) -> object:
    (report,), (good,) = examples("SNP reports"), examples("SNP endorsements")
    verified = verify_report(report, data, NOW, root_keys=_root_keys())
    if _ders(data) != _ders(good):
        raise FalselyVerified("these are not the certificates of the chip")
    return verified


@cache
def _endorsed() -> frozenset[tuple[bytes, bytes | None]]:
    messages = map(decode_sign1, examples("UVM endorsements"))
    return frozenset((message.protected_bytes, message.payload) for message in messages)


def _uvm(data: bytes) -> object:
    roots = [UvmEndorsements(did, "Feed", "1") for did in facts("UVM issuers")]
    found = verify_uvm_endorsements(data, MEASUREMENT, roots)
    message = decode_sign1(data)
    if (message.protected_bytes, message.payload) not in _endorsed():
        raise FalselyVerified("nobody signed these endorsements")
    return found


def _mutant_report(random: Random) -> bytes:
    return mutate(examples("SNP reports"), (), random)


def _mutant_endorsements(random: Random) -> bytes:
    return mutate(examples("SNP endorsements"), (b"-----END CERTIFICATE-----", b"-----BEGIN CERTIFICATE-----"), random)


def _mutant_uvm(random: Random) -> bytes:
    return mutate(examples("UVM endorsements"), examples("certificate chains"), random)


def _mutant_certificate(random: Random) -> bytes:
    return mutate(examples("certificate chains"), (), random)


TARGETS = (
    Target("SNP reports", _mutant_report, _report, (UnverifiedReport,), weight=20),
    Target("SNP endorsements", _mutant_endorsements, _endorsements, (UnverifiedReport,)),
    Target("UVM endorsements", _mutant_uvm, _uvm, (UnverifiedEndorsements,)),
    Target("DER certificates", _mutant_certificate, certificate_extensions, (DerDecodeError,), weight=40),
)
