"""From an ARM PUT to Succeeded: the whole control plane on an empty data directory, three nodes over three zones."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from controlplane.settings import load
from dataplane.client.signing import new_identity
from samples import quickstart
from tests.bench.rows import Effort, Row
from tests.support.installation import instance_body
from tests.support.nodes import ROOT, free_port

_INSTANCES = 3


def run(effort: Effort) -> list[Row]:
    """The time from the first byte of the PUT to the operation's end, polled as a client would; and of `mccf up`."""
    with tempfile.TemporaryDirectory() as temporary:
        environment = {**os.environ, "MCCF_DATA_DIR": f"{temporary}/data", "MCCF_PORT": str(free_port())}
        begin = time.monotonic()
        _mccf(environment, "up")
        up_s = time.monotonic() - begin
        try:
            times_s = _create(environment, Path(temporary), min(_INSTANCES, effort.repeats))
        finally:
            _mccf(environment, "down", "--nodes")
    middle_s = median(times_s)
    detail: dict[str, object] = {"max_s": round(max(times_s), 2), "n": len(times_s)}
    return [
        Row("times", "mccf up on an empty directory", round(up_s, 2), "s", up_s * 1e6),
        Row("times", "PUT to Succeeded, 3 nodes", round(middle_s, 2), "s", middle_s * 1e6, detail),
    ]


def _create(environment: dict[str, str], directory: Path, count: int) -> list[float]:
    settings = load(environment)
    arm = quickstart.Arm(json.loads(settings.credentials_file.read_text()))
    group = f"{arm.subscription}/resourceGroups/bench"
    arm.put(group, {"location": "southcentralus"}, quickstart.GROUPS_VERSION)
    times_s = []
    for number in range(count):
        member = new_identity(f"member{number}", directory, encryption_key=True)
        path = f"{group}/providers/Microsoft.ConfidentialLedger/managedCCFs/bench{number}"
        begin = time.monotonic()
        arm.follow(arm.put(path, instance_body(member)))
        times_s.append(time.monotonic() - begin)
    return times_s


def _mccf(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "controlplane.cli", *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"mccf {arguments[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
