"""Real CCF services among the vectors, brought back by our node with their members' test keys."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dataplane.client.signing import IdentityFiles
from dataplane.ledger.secrets import LedgerSecrets
from tests.support.ccf_package import available_versions, ccf_python
from tests.support.nodes import ROOT, Service
from tests.support.real_ledgers import frames_of, unwrap_secrets
from tests.support.recovery import begin_recovery
from tests.support.vectors import require_vectors

_SCRIPT = ROOT / "tests" / "third_party" / "scripts" / "replay_state.py"
_SETTINGS: dict[str, Any] = {
    "consensus": {"election_timeout": "1000ms", "message_timeout": "100ms"},
    "ledger_signatures": {"delay": "100ms"},
    "ledger": {"directory": "ledger", "chunk_size": "20KB"},
}


def lost_service(name: str, directory: Path) -> tuple[Service, Path]:
    """What is left of a service: its members and identity, and its ledger directory, copied into `directory`."""
    source = require_vectors() / "ccf-services" / name
    shutil.copytree(source, directory / name)
    common = directory / name / "common"
    lost = Service(directory / name, _SETTINGS)
    lost.certificate = (common / "service_cert.pem").read_text()
    lost.members = [_files(certificate) for certificate in sorted(common.glob("member*_cert.pem"))]
    return lost, directory / name / "ledger"


def recover_vector(name: str, directory: Path) -> tuple[Service, Service]:
    """(what was lost, the service our node made of it), waiting for the members."""
    lost, ledger = lost_service(name, directory)
    return lost, begin_recovery(lost, directory / f"{name}-recovered", ledger=ledger)


def all_secrets(ledger: Path, common: Path) -> LedgerSecrets:
    """Every ledger secret that the members' shares lead to."""
    return unwrap_secrets(frames_of(ledger), common)


def compare_state(ledger: Path, snapshot: Path, secrets: LedgerSecrets, upto: int | None = None) -> dict[str, Any]:
    """A snapshot against a straight replay by the public package (`replay_state.py`), up to its own seqno or `upto`."""
    asked = {
        "ledger": str(ledger),
        "snapshot": str(snapshot),
        "secrets": {version: key.hex() for version, key in secrets},
        "upto": upto,
    }
    run = subprocess.run(
        [str(ccf_python(available_versions()[-1])), "-W", "ignore", str(_SCRIPT)],
        input=json.dumps(asked), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if run.returncode:
        raise AssertionError(f"the replay failed:\n{run.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def _files(certificate: Path) -> IdentityFiles:
    stem = certificate.name.removesuffix("_cert.pem")
    encryption = certificate.with_name(f"{stem}_enc_privk.pem")
    return IdentityFiles(
        certificate,
        certificate.with_name(f"{stem}_privk.pem"),
        certificate.with_name(f"{stem}_enc_pubk.pem"),
        encryption if encryption.exists() else None,
    )
