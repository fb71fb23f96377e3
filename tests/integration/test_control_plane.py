"""The control plane as processes: parts that are killed, nodes that die, and what is true after a restart."""

import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.parts import running_parts, running_supervisor
from dataplane.client.session import Session
from tests.support.installation import Client, Installation, activate
from tests.support.nodes import wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes"), pytest.mark.timeout(400)]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path) as made:
        yield made


def test_parts_killed_at_random_during_a_creation_change_nothing_but_its_time(installation: Installation) -> None:
    arm = installation.up()
    answer = arm.begin("bank", installation.member())
    seed = int(os.environ.get("MCCF_TEST_SEED", time.time()))
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(6):
        time.sleep(chance.uniform(0.1, 1.0))
        installation.kill(chance.choice(["worker", "worker", "broker", "api", "gateway"]))
    wait_until("all parts to be back", lambda: installation.mccf("up").returncode == 0, 120)
    arm.follow(answer)
    properties = arm.properties("bank")
    assert properties["provisioningState"] == "Succeeded"
    assert len(installation.node_pids("bank")) == 3, "no node was launched twice or lost"
    assert len(list(installation.settings.instances_dir.glob("*/*/*"))) == 3
    with Session(properties["appUri"], arm.certificate("bank")) as session:
        assert session.get_json("/node/network")["service_status"] == "Opening"


def test_a_killed_supervisor_leaves_nothing_that_stands_in_the_way(installation: Installation) -> None:
    installation.up()
    pids = running_parts(installation.settings)
    assert set(pids) == {"broker", "api", "worker", "gateway"}
    installation.kill("supervisor")
    wait_until("the parts to end with it", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()))
    installation.up()
    assert running_supervisor(installation.settings) is not None
    assert set(running_parts(installation.settings).values()).isdisjoint(pids.values())


def test_a_node_that_dies_is_replaced_and_the_address_stays(installation: Installation) -> None:
    arm = installation.up()
    properties = arm.create("bank", installation.member())
    certificate = arm.certificate("bank")
    with Session(properties["appUri"], certificate) as session:
        activate(installation, session)
    for _ in range(2):
        primary = next(name for name, node in arm.nodes_of("bank").items() if node.get("role") == "Primary")
        os.kill(installation.node_pids("bank")[primary], signal.SIGKILL)
        wait_until("a replacement", lambda gone=primary: _replaced(installation, arm, gone), 60)
    assert arm.properties("bank")["appUri"] == properties["appUri"]
    with Session(properties["appUri"], certificate) as session:
        assert len(session.get_json("/node/network/nodes")["nodes"]) == 3
    status = installation.mccf("status")
    assert status.returncode == 0, status.stderr


def test_an_instance_that_lost_its_quorum_while_nobody_looked_is_shown_so(installation: Installation) -> None:
    arm = installation.up()
    arm.create("bank", installation.member())
    assert json.loads(installation.mccf("down").stdout)["nodesRunning"] == 3
    for pid in installation.node_pids("bank").values():
        os.kill(pid, signal.SIGKILL)
    arm = installation.up()
    wait_until("the truth", lambda: arm.properties("bank")["runningState"] == "Unknown", timeout_s=20)
    assert arm.properties("bank")["provisioningState"] == "Succeeded"
    status = installation.mccf("status")
    assert status.returncode == 1
    assert "lost its quorum" in status.stderr
    arm.delete("bank")


def test_a_delete_takes_processes_files_and_the_operators_key_away(installation: Installation) -> None:
    arm = installation.up()
    arm.create("bank", installation.member())
    arm.delete("bank")
    assert not installation.node_pids("bank")
    assert not list(installation.settings.instances_dir.iterdir())
    assert not list((installation.settings.data_dir / "operators").iterdir())


def test_a_taken_port_is_said_and_not_mistaken_for_the_api(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", installation.settings.port)):
        done = installation.mccf("up", "--timeout", "15")
    assert done.returncode == 1
    assert "these do not serve: api;" in done.stderr


def _replaced(installation: Installation, arm: Client, gone: str) -> bool:
    nodes = arm.nodes_of("bank")
    running = {name for name, node in nodes.items() if node["state"] == "Running"}
    return gone not in nodes and len(running) == 3 and set(installation.node_pids("bank")) == running
