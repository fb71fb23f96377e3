"""What the README promises: the quickstart works, and the control plane stops and comes back with what it had."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nodes import ROOT, free_port

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes"), pytest.mark.timeout(400)]

Environment = dict[str, str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    directory = tmp_path_factory.mktemp("home") / "mccf"
    values = {
        "HOME": str(directory.parent),
        "PATH": os.environ["PATH"],
        "MCCF_DATA_DIR": str(directory),
        "MCCF_PORT": str(free_port()),
        "PYTHONPATH": str(ROOT),
    }
    yield values
    mccf(values, "down", "--nodes")


def run(environment: Environment, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


def mccf(environment: Environment, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(environment, "-m", "controlplane.cli", *arguments)


def test_the_quickstart(environment: Environment) -> None:
    done = run(environment, "-m", "samples.quickstart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ *[0-9.]+s  the dead node is replaced$", done.stdout, re.MULTILINE)
    assert "simulated" in done.stdout


def test_the_first_secret_is_in_a_0600_file_and_in_no_log(environment: Environment) -> None:
    directory = Path(environment["MCCF_DATA_DIR"])
    credentials = directory / "credentials.json"
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    secret = json.loads(credentials.read_text())["client_secret"].encode()
    holders = [
        path for path in directory.rglob("*") if path.is_file() and path != credentials and secret in path.read_bytes()
    ]
    assert holders == []


def test_down_and_up_again_lists_what_was_created(environment: Environment) -> None:
    down = mccf(environment, "down")
    assert (down.returncode, json.loads(down.stdout)["nodesRunning"]) == (0, 3), down.stderr
    stopped = mccf(environment, "status")
    assert stopped.returncode != 0
    assert "mccf up" in stopped.stderr
    up = mccf(environment, "up")
    assert up.returncode == 0, up.stderr
    status = mccf(environment, "status")
    assert status.returncode == 0, status.stderr
    (instance,) = json.loads(status.stdout)["instances"]
    assert (instance["name"], instance["service"], instance["platform"]) == ("bank", "Open", "simulated")


def test_a_second_quickstart_says_what_to_do(environment: Environment) -> None:
    again = run(environment, "-m", "samples.quickstart")
    assert again.returncode == 1
    assert "exists already" in again.stdout


def test_the_names_in_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", readme, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for pair in targets for name in pair if name)
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (ROOT / link).exists(), link
