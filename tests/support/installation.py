"""A whole control plane of its own, with real nodes: `mccf up` on a fresh directory, `mccf down --nodes` at the end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane import settings as settings_module
from controlplane.settings import Settings
from tests.support.arm_world import SUBSCRIPTION, TENANT
from tests.support.nodes import ROOT, free_port


@contextmanager
def installation(directory: Path) -> Iterator[Settings]:
    """Up, then down whatever happened. Yields its settings."""
    environment = {
        "HOME": str(directory),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "MCCF_DATA_DIR": str(directory / "mccf"),
        "MCCF_PORT": str(free_port()),
        "MCCF_TENANT_ID": TENANT,
        "MCCF_SUBSCRIPTION_ID": SUBSCRIPTION,
    }

    def mccf(*arguments: str) -> None:
        command = [sys.executable, "-m", "controlplane.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        mccf("up")
        yield settings_module.load(environment)
    finally:
        mccf("down", "--nodes")
