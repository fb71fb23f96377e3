"""Whether a service trusts a verified SEV-SNP report, by what its members listed (ledger-format.md 8.5)."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from dataplane.attestation.platform import InvalidQuote
from dataplane.attestation.snp_report import Report
from dataplane.attestation.snp_tcb import least_tcb, meets, product_of, tcb_components, tcb_hex
from dataplane.attestation.uvm import UnverifiedEndorsements, UvmEndorsements, verify_uvm_endorsements


@dataclass(frozen=True, slots=True)
class SnpPolicy:
    """What the tables of a service list.

    `host_data`, `measurements`: lower-case hex. `uvm_roots`: whose endorsements are trusted. `tcb_versions`: the least
    TCB version by the CPUID's text, as ledger-format.md 8.6.
    """

    host_data: Container[str]
    measurements: Container[str]
    uvm_roots: Iterable[UvmEndorsements]
    tcb_versions: Mapping[str, Mapping[str, object]]


def check_against_policy(
    report: Report, uvm_endorsements: bytes | None, public_key_der: bytes, policy: SnpPolicy
) -> None:
    """Whether a node with this key (SPKI DER) may join; raises `InvalidQuote` with the texts of node-api.md 1.8.

    The report must have been verified. Where there are UVM endorsements, they alone decide about the measurement.
    """
    if report.host_data.hex() not in policy.host_data:
        raise InvalidQuote("Quote host data is not authorised")
    if uvm_endorsements is not None:
        _check_endorsements(report, uvm_endorsements, policy)
    elif report.measurement.hex() not in policy.measurements:
        raise InvalidQuote("Quote does not contain known enclave measurement")
    _check_tcb(report, policy)
    digest = sha256(public_key_der).digest()
    if report.report_data != digest + bytes(len(report.report_data) - len(digest)):
        raise InvalidQuote("Quote report data does not contain node's public key hash")


def _check_endorsements(report: Report, uvm_endorsements: bytes, policy: SnpPolicy) -> None:
    try:
        verify_uvm_endorsements(uvm_endorsements, report.measurement, policy.uvm_roots)
    except UnverifiedEndorsements as error:
        raise InvalidQuote(f"UVM endorsements are not authorised: {error}") from error


def _check_tcb(report: Report, policy: SnpPolicy) -> None:
    family, model, stepping = report.cpuid_fam_id, report.cpuid_mod_id, report.cpuid_step
    least = least_tcb(policy.tcb_versions.items(), family, model, stepping)
    if least is None:
        raise InvalidQuote(
            "Quote could not be verified: invalid CPUID, no TCB version is set for processors of "
            f"family {family}, model {model}, stepping {stepping}"
        )
    if not meets(least, tcb_components(product_of(family, model), report.reported_tcb)):
        raise InvalidQuote(
            f"Quote could not be verified: TCB version {tcb_hex(report.reported_tcb)} is below the one that is set"
        )
