"""`snp_attestation`: reports of SEV-SNP machines (node-api.md 5.8, ledger-format.md 8)."""

from datetime import UTC, datetime
from typing import Any

from dataplane.attestation.snp import UnverifiedReport, verify_report
from dataplane.attestation.snp_report import Report
from dataplane.attestation.snp_tcb import Product, product_of, tcb_components, tcb_hex
from dataplane.attestation.uvm import DEFAULT_ROOTS, UnverifiedEndorsements, verify_uvm_endorsements
from dataplane.js.host import Host
from dataplane.js.quickjs import Arguments, Thrown, Value, is_absent

_AS_THEY_ARE = (
    *("version", "guest_svn", "family_id", "image_id", "vmpl", "signature_algo", "report_data", "measurement"),
    *("host_data", "id_key_digest", "author_key_digest", "report_id", "report_id_ma", "cpuid_fam_id", "cpuid_mod_id"),
    *("cpuid_step", "chip_id", "current_build", "current_minor", "current_major", "committed_build"),
    *("committed_minor", "committed_major"),
)
_TCB_VERSIONS = ("platform_version", "reported_tcb", "committed_tcb", "launch_tcb")


def verify_snp(host: Host, _count: int, argv: Arguments) -> Value:
    """What a report says, and who endorses its measurement; a RangeError when one of them does not verify."""
    context = host.context
    evidence, endorsements = context.buffer(argv[1]), context.buffer(argv[2])
    uvm = None if is_absent(argv[3]) else context.buffer(argv[3])
    endorsed_tcb = None if is_absent(argv[4]) else context.text(argv[4])
    try:
        report = verify_report(evidence, endorsements, datetime.now(UTC), endorsed_tcb=endorsed_tcb)
        result: dict[str, Any] = {"attestation": attestation_fields(report)}
        if uvm is not None:
            endorser = verify_uvm_endorsements(uvm, report.measurement, DEFAULT_ROOTS)
            result["uvm_endorsements"] = {"did": endorser.did, "feed": endorser.feed, "svn": endorser.svn}
    except (UnverifiedReport, UnverifiedEndorsements) as error:
        raise Thrown(str(error), "RangeError") from error
    return context.from_python(result)


def attestation_fields(report: Report) -> dict[str, Any]:
    """The members of `SnpAttestationResult.attestation`; bytes become ArrayBuffers."""
    product = product_of(report.cpuid_fam_id, report.cpuid_mod_id)
    platform_info = {"smt_en": report.platform_info & 1, "tsme_en": report.platform_info >> 1 & 1}
    return {
        **{name: getattr(report, name) for name in _AS_THEY_ARE},
        **{name: _tcb_version(product, getattr(report, name)) for name in _TCB_VERSIONS},
        "policy": _policy(report.policy),
        "platform_info": platform_info,
        "plaform_info": platform_info,  # what the original calls it, unlike its type declarations
        "flags": {
            "author_key_en": report.flags & 1,
            "mask_chip_key": int(report.mask_chip_key),
            "signing_key": report.signing_key,
        },
        "signature": {"r": report.signature_r, "s": report.signature_s},
    }


def _policy(bits: int) -> dict[str, int]:
    places = {"smt": 16, "migrate_ma": 18, "debug": 19, "single_socket": 20}
    numbers = {"abi_minor": bits & 0xFF, "abi_major": bits >> 8 & 0xFF}
    return numbers | {name: bits >> place & 1 for name, place in places.items()}


def _tcb_version(product: Product, version: bytes) -> dict[str, int | str]:
    return {**tcb_components(product, version), "hexstring": tcb_hex(version)}
