"""The public `ccf` package as judge: its ledger reader, its receipt checks, its signing tool.

Two releases, each in an environment of its own. 6.0.28 reads COSE signatures only with an old `cbor2`; 7.0.22 needs
Python 3.12.
"""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.tool_envs import ROOT, find_python, missing, tool_python

V6 = "6.0.28"
V7 = "7.0.22"
VERSIONS = (V6, V7)

_REQUIREMENTS = {V6: ["ccf==6.0.28", "cbor2<5.8"], V7: ["ccf==7.0.22"]}
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class LedgerVerdict:
    """What `read_ledger.py` says. `last_seqno` and `signatures` are None where it says nothing of them."""

    accepted: bool
    last_seqno: int | None
    signatures: int | None
    output: str


def available_versions() -> tuple[str, ...]:
    """The releases this machine has a Python for; 6.0.28 runs on ours."""
    return tuple(version for version in VERSIONS if _python_for(version) is not None)


def ccf_python(version: str) -> Path:
    """The interpreter of the environment that holds this release; skips the test where there is no Python for it."""
    python = _python_for(version)
    if python is None:
        pytest.skip(f"ccf {version} needs Python 3.12, which is not there")
    assert python is not None
    try:
        return tool_python(f"ccf-{version}", _REQUIREMENTS[version], python)
    except subprocess.CalledProcessError as error:
        missing(f"ccf {version} cannot be installed: {error.stderr}")
        raise


def _python_for(version: str) -> str | None:
    if version == V6:
        return sys.executable
    return find_python("3.12") or find_python("3.13")


def read_ledger(directory: Path, version: str, *, uncommitted: bool = False) -> LedgerVerdict:
    """Run `read_ledger.py` over a ledger directory."""
    tool = ccf_python(version).with_name("read_ledger.py")
    flags = ["--quiet", *(["--uncommitted"] if uncommitted else [])]
    run = subprocess.run(
        [str(tool), *flags, str(directory)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    signatures = re.search(r"(\d+) signatures", run.stdout)
    until = re.search(r"until \d+\.(\d+)", run.stdout)
    return LedgerVerdict(
        accepted=run.returncode == 0 and "Ledger verification complete" in run.stdout,
        last_seqno=int(until[1]) if until else None,
        signatures=int(signatures[1]) if signatures else None,
        output=run.stdout + run.stderr,
    )


def read_snapshot(path: Path, version: str) -> bool:
    """Whether the package reads a snapshot file and holds its receipt for valid."""
    tool = ccf_python(version).with_name("read_ledger.py")
    run = subprocess.run(
        [str(tool), "--quiet", "--snapshot", str(path)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    return run.returncode == 0 and not run.stderr


def secrets_chain_holds(directory: Path, version: str) -> bool:
    """The verdict of `verify_ledger_secrets_chain.py` on committed chunks."""
    tool = ccf_python(version).with_name("verify_ledger_secrets_chain.py")
    return (
        subprocess.run([str(tool), str(directory)], capture_output=True, timeout=_TIMEOUT_S, check=False).returncode
        == 0
    )


def judge_receipts(
    receipts: Iterable[dict[str, Any]], service_cert_pem: str, version: str, *, chain: bool = False
) -> list[str]:
    """The package's verdict on each receipt: `accepted`, or `refused` with its error.

    `chain` also runs `check_cert_chain`, which looks at certificate profiles and validity now.
    """
    return _judge(({"receipt": r, "service_cert": service_cert_pem, "chain": chain} for r in receipts), version)


def judge_cose_receipts(receipts: Iterable[tuple[bytes, str, bytes]], version: str) -> list[str]:
    """The package's verdict on COSE receipts: each with the PEM of the key that signed it, and its claims digest."""
    requests = (
        {"cose": b64encode(receipt).decode(), "key": key_pem, "claims_digest": claims.hex()}
        for receipt, key_pem, claims in receipts
    )
    return _judge(requests, version)


def _judge(requests: Iterable[dict[str, Any]], version: str) -> list[str]:
    script = ROOT / "tests" / "third_party" / "scripts" / "verify_receipts.py"
    run = subprocess.run(
        [str(ccf_python(version)), "-W", "ignore", str(script)],
        input="\n".join(map(json.dumps, requests)), capture_output=True, text=True, timeout=_TIMEOUT_S, check=True,
    )  # fmt: skip
    return run.stdout.splitlines()


def cose_sign1(
    content: bytes,
    certificate: Path,
    private_key: Path,
    msg_type: str,
    created_at: str,
    version: str = V6,
    *,
    proposal_id: str | None = None,
) -> bytes:
    """Sign with `ccf_cose_sign1`; `created_at` is ISO 8601 text, as the tool takes it."""
    command = [
        str(ccf_python(version).with_name("ccf_cose_sign1")),
        "--content", "-",
        "--signing-cert", str(certificate),
        "--signing-key", str(private_key),
        "--ccf-gov-msg-type", msg_type,
        "--ccf-gov-msg-created_at", created_at,
    ]  # fmt: skip
    if proposal_id is not None:
        command += ["--ccf-gov-msg-proposal_id", proposal_id]
    return subprocess.run(command, input=content, capture_output=True, timeout=_TIMEOUT_S, check=True).stdout
