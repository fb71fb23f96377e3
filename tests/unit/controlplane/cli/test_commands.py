"""Help is quick because nothing is imported for it; status says what is down."""

import subprocess
import sys
from typing import Any

import pytest

from controlplane.cli.status import missing


def test_help_imports_no_command() -> None:
    script = (
        "import sys; from controlplane.cli.__main__ import main\n"
        "sys.argv = ['mccf', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx', 'sqlalchemy', 'celery', 'alembic', 'cryptography', 'controlplane.cli.local'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"{name} " in done.stdout for name in ("up", "down", "status", "ledger"))


def _summary(state: str = "Succeeded", running_state: str = "Active", running: int = 3) -> dict[str, Any]:
    nodes = {"running": running, "wanted": 3}
    return {"name": "bank", "provisioningState": state, "runningState": running_state, "nodes": nodes}


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (_summary(), []),
        (_summary(running=2), ["1 of 3 nodes of instance bank"]),
        (_summary(running_state="Unknown", running=1), ["instance bank (it has lost its quorum)"]),
        (_summary("Failed", running=0), ["instance bank (its last operation failed)"]),
        (_summary("Creating", "Unknown", running=1), []),
        (_summary("Deleting", running=0), []),
    ],
)
def test_what_is_down(summary: dict[str, Any], expected: list[str]) -> None:
    assert missing(summary) == expected
