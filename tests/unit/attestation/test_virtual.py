"""Virtual evidence: accepted when the service lists it, refused with the pinned texts of node-api.md 1.8 otherwise."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dataplane.attestation.platform import Evidence, InvalidQuote
from dataplane.attestation.registry import Trusted, load_platform, verify_join_evidence
from dataplane.attestation.snp_policy import SnpPolicy
from dataplane.attestation.virtual import FORMAT, MEASUREMENT, VirtualPlatform, check_trusted
from dataplane.crypto.keys import load_public_key, spki_der
from dataplane.kv.tables import NODES_INFO, load_json
from dataplane.ledger.entry import decode_entry
from tests.support.real_ledgers import frames_of
from tests.support.vectors import require_vectors

KEY_DER = b"a public key"
EXECUTABLE_DIGEST = sha256(b"program").digest()
HOST_DATA = EXECUTABLE_DIGEST.hex()
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def evidence() -> Evidence:
    return VirtualPlatform(EXECUTABLE_DIGEST).attest(sha256(KEY_DER).digest())


def verdict(quote_info: dict[str, Any], key: bytes = KEY_DER, **lists: list[str]) -> str | None:
    measurements, host_data = lists.get("measurements", [MEASUREMENT]), lists.get("host_data", [HOST_DATA])
    return verify_join_evidence(quote_info, key, Trusted(measurements, host_data, SnpPolicy([], [], [], {})), NOW)


def test_listed_evidence_is_accepted() -> None:
    assert verdict(evidence().to_json()) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"host_data": []}, "Quote host data is not authorised"),
        ({"measurements": []}, "Quote does not contain known enclave measurement"),
        ({"measurements": [MEASUREMENT.upper()]}, "Quote does not contain known enclave measurement"),
        ({"key": b"another key"}, "Quote report data does not contain node's public key hash"),
    ],
)
def test_evidence_the_service_does_not_list_is_refused(change: dict[str, Any], reason: str) -> None:
    assert verdict(evidence().to_json(), **change) == reason


@pytest.mark.parametrize(
    "change",
    [
        {"quote": "no base64!"},
        {"quote": b64encode(b"[]").decode()},
        {"quote": b64encode(b"{}").decode()},
        {"quote": b64encode(b"[" * 100_000).decode()},
        {"quote": b64encode(json.dumps({"measurement": 1, "host_data": "", "report_data": "AA=="}).encode()).decode()},
        {"quote": None},
        {"endorsements": 5},
        {"format": "AMD_SEV_SNP_v1"},
        {"format": "OE_SGX_v1"},
    ],
)
def test_malformed_evidence_is_refused(change: dict[str, Any]) -> None:
    reason = verdict(evidence().to_json() | change)
    assert reason is not None
    assert reason.startswith("Quote could not be verified")


def test_evidence_survives_json() -> None:
    whole = Evidence(FORMAT, b"quote", b"endorsements", b"uvm", "db18000000000004")
    assert Evidence.from_json(whole.to_json()) == whole
    assert Evidence.from_json(evidence().to_json()) == evidence()


def test_the_platform_measures_the_executable(tmp_path: Path) -> None:
    executable = tmp_path / "program"
    executable.write_bytes(b"program")
    platform = load_platform("Virtual", executable)
    claims = platform.verify(platform.attest(bytes(32)), NOW)
    assert (claims.measurement, claims.host_data, claims.report_data) == (MEASUREMENT, HOST_DATA, bytes(32))
    with pytest.raises(ValueError, match="unknown platform"):
        load_platform("abacus", executable)
    with pytest.raises(ValueError, match="32 bytes"):
        platform.attest(b"short")


def test_real_virtual_quotes() -> None:
    ledger = require_vectors() / "ccf-services" / "acme_containing_service" / "ledger"
    (info,) = decode_entry(frames_of(ledger)[0]).writes[NODES_INFO].values()
    assert info is not None
    node = load_json(info)
    claims = VirtualPlatform(EXECUTABLE_DIGEST).verify(Evidence.from_json(node["quote_info"]), NOW)
    key = spki_der(load_public_key(node["public_key"]))
    check_trusted(claims, key, measurements=[MEASUREMENT], host_data=[claims.host_data])
    with pytest.raises(InvalidQuote, match="public key hash"):
        check_trusted(claims, KEY_DER, measurements=[MEASUREMENT], host_data=[claims.host_data])
