"""The platforms by name, and the way evidence of any of them is judged."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from dataplane.attestation import snp
from dataplane.attestation.platform import Evidence, InvalidQuote, Platform
from dataplane.attestation.snp import UnverifiedReport, verify_report
from dataplane.attestation.snp_policy import SnpPolicy, check_against_policy
from dataplane.attestation.snp_report import Report, parse_report
from dataplane.attestation.virtual import VirtualPlatform, check_trusted, read_quote

VIRTUAL = "virtual"


def load_platform(name: str, executable: Path) -> Platform:
    """The platform this node runs on; `executable` is the file it was started from. Raises `ValueError`, `OSError`."""
    if name.lower() != VIRTUAL:
        raise ValueError(f"unknown platform {name!r}; known: {VIRTUAL}")
    return VirtualPlatform(sha256(executable.read_bytes()).digest())


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a service's tables list for each platform."""

    virtual_measurements: Container[str]
    virtual_host_data: Container[str]
    snp: SnpPolicy


def verify_join_evidence(
    quote_info: Mapping[str, Any], public_key_der: bytes, trusted: Trusted, now: datetime
) -> str | None:
    """Why a node with this key (SPKI DER) may not join, in the words of node-api.md 1.8; None when it may.

    Evidence of a format that has no platform here is refused.
    """
    try:
        evidence = Evidence.from_json(quote_info)
        if evidence.format == snp.FORMAT:
            report = _verified_report(evidence, now)
            check_against_policy(report, evidence.uvm_endorsements, public_key_der, trusted.snp)
        else:
            check_trusted(
                read_quote(evidence),
                public_key_der,
                measurements=trusted.virtual_measurements,
                host_data=trusted.virtual_host_data,
            )
    except InvalidQuote as error:
        return error.message
    return None


def claimed_measurement(evidence: Evidence) -> bytes:
    """The measurement that evidence names, not verified: of `virtual` the UTF-8 text. Raises `InvalidQuote`."""
    if evidence.format != snp.FORMAT:
        return read_quote(evidence).measurement.encode()
    try:
        return parse_report(evidence.quote).measurement
    except ValueError as error:
        raise InvalidQuote(f"Quote could not be verified: {error}") from error


def _verified_report(evidence: Evidence, now: datetime) -> Report:
    try:
        return verify_report(evidence.quote, evidence.endorsements, now, endorsed_tcb=evidence.endorsed_tcb)
    except UnverifiedReport as error:
        raise InvalidQuote(f"Quote could not be verified: {error}") from error
