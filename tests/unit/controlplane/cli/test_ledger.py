"""`mccf ledger verify`: what it prints and how it ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.ledger import verify
from controlplane.cli.tables import ledger_verification
from dataplane.ledger.chunk import read_layout
from tests.support.service_ledger import ServiceLedger, filled_ledger


@pytest.fixture(scope="module")
def ledger() -> ServiceLedger:
    return filled_ledger(30, chunk_size=7_000)


def _spoil(directory: Path) -> tuple[Path, int]:
    """Change one byte of the third entry; its file, and where the entry begins."""
    path = min(directory.iterdir(), key=lambda file: int(file.name.removeprefix("ledger_").split("-")[0]))
    data = bytearray(path.read_bytes())
    start, _ = read_layout(bytes(data)).bounds(2)
    data[start + 100] ^= 1
    path.write_bytes(data)
    return path, start


def _mccf(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "controlplane.cli", "ledger", "verify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_good_ledger(ledger: ServiceLedger, tmp_path: Path) -> None:
    result = verify([str(ledger.write_to(tmp_path))])
    assert (result["verdict"], result["exitCode"], result["problems"]) == ("verified", 0, [])
    assert result["lastTxId"] == result["lastSigned"] == f"{ledger.view}.{len(ledger.entries)}"
    (row,) = ledger_verification(result)
    assert row["Verdict"] == "verified"
    committed = verify([str(tmp_path)], committed_only=True)
    assert len(committed["files"]) < len(result["files"])


def test_a_wrong_byte_is_told_by_file_offset_seqno_and_reason(ledger: ServiceLedger, tmp_path: Path) -> None:
    path, start = _spoil(ledger.write_to(tmp_path))
    result = verify([str(tmp_path)])
    (problem,) = result["problems"]
    assert (result["verdict"], result["exitCode"]) == ("corrupt", 3)
    assert (problem["file"], problem["offset"], problem["seqno"]) == (str(path), start, 3)
    (row,) = ledger_verification(result)
    assert (row["File"], row["Offset"], row["Seqno"]) == (path.name, start, 3)


def test_the_command_line(ledger: ServiceLedger, tmp_path: Path) -> None:
    directory = ledger.write_to(tmp_path / "ledger")
    certificate = tmp_path / "service_cert.pem"
    certificate.write_text(ledger.service_cert)
    good = _mccf("--directory", str(directory), "--service-certificate", str(certificate))
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["verdict"] == "verified"
    path, start = _spoil(directory)
    bad = _mccf("--directory", str(directory), "--output", "table")
    assert bad.returncode == 3
    assert path.name in bad.stdout
    assert str(start) in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--directory", "/nowhere"], 1, "/nowhere"),
        ([], 2, "--directory"),
        (["--directory", ".", "--service-certificate", "/dev/null"], 1, "certificate"),
        (["--directory", ".", "--ledger-secrets", "/dev/null"], 1, "ledger secrets"),
    ],
)
def test_what_cannot_be_checked(arguments: list[str], code: int, said: str) -> None:
    done = _mccf(*arguments)
    assert done.returncode == code
    assert said in done.stderr


def test_an_end_that_is_not_signed_has_a_code_of_its_own(tmp_path: Path) -> None:
    ledger = filled_ledger(5)
    ledger.append({"public:t": {b"k": b"v"}})
    result: dict[str, Any] = verify([str(ledger.write_to(tmp_path))])
    assert (result["verdict"], result["exitCode"], result["unsignedEntries"]) == ("incomplete", 4, 1)
