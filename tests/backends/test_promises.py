"""What every place to run nodes promises (`controlplane.backends.backend`), asked of each in the same words."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.backends.backend import Backend, BackendNode, JoinSpec, MemberSpec, NodeSpec, StartSpec
from controlplane.backends.process import ProcessBackend
from controlplane.reconcile.model import LaunchMode
from controlplane.settings import Settings
from tests.support.fake_backend import FakeBackend

INSTANCE = "6f1b0a1e-0000-4000-8000-000000000001"
STAND_IN = (sys.executable, "-P", str(Path(__file__).parents[1] / "support" / "stand_in_node.py"))
START = StartSpec((MemberSpec("cert", None, {"identifier": "m0"}),), "export function validate () {}", 0, "bank")


class Place:
    """A backend under test, and what only a test may do to its nodes."""

    def __init__(
        self, backend: Backend, another: Callable[[], Backend], kill: Callable[[str], None], tick: Callable[[], None]
    ) -> None:
        self.backend, self.another, self.kill, self._tick = backend, another, kill, tick

    def launch(self, ordinal: int, zone: str = "zone-1", *, join: bool = False) -> str:
        name = f"bank-{ordinal}"
        command = JoinSpec("127.0.0.1:1", "cert") if join else START
        self.backend.launch(NodeSpec(INSTANCE, name, ordinal, zone, command))
        return name

    def wait_for(self, name: str, condition: Callable[[BackendNode], bool], timeout_s: float = 20) -> BackendNode:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            node = next((n for n in self.backend.observe(INSTANCE) if n.name == name), None)
            if node is not None and condition(node):
                return node
            self._tick()
        raise AssertionError(f"{name} never was as expected: {self.backend.observe(INSTANCE)}")


@pytest.fixture(params=["fake", pytest.param("process", marks=pytest.mark.ci)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "fake":
        fake = FakeBackend()
        yield Place(fake, lambda: fake, lambda name: fake.fail(INSTANCE, name), lambda: fake.cluster(INSTANCE).tick())
        return
    settings = Settings(data_dir=tmp_path)
    backend = ProcessBackend(settings, STAND_IN)
    yield Place(
        backend,
        lambda: ProcessBackend(settings, STAND_IN),
        lambda name: os.kill(_pid(tmp_path, name), signal.SIGKILL),
        lambda: time.sleep(0.02),
    )
    backend.remove_instance(INSTANCE)


def test_a_launched_node_is_observed_with_what_it_says_of_itself(place: Place) -> None:
    place.launch(0)
    node = place.wait_for("bank-0", lambda n: n.service_certificate is not None and n.rpc_address is not None)
    assert (node.ordinal, node.zone, node.mode, node.running) == (0, "zone-1", LaunchMode.START, True)
    assert node.node_id
    place.launch(1, "zone-2", join=True)
    joiner = place.wait_for("bank-1", lambda n: n.rpc_address is not None)
    assert (joiner.zone, joiner.mode, joiner.service_certificate) == ("zone-2", LaunchMode.JOIN, None)
    assert joiner.node_id != node.node_id
    assert [n.ordinal for n in place.backend.observe(INSTANCE)] == [0, 1]


def test_launching_again_changes_nothing(place: Place) -> None:
    place.launch(0)
    node = place.wait_for("bank-0", lambda n: n.rpc_address is not None and n.service_certificate is not None)
    place.launch(0)
    place.another().launch(NodeSpec(INSTANCE, "bank-0", 0, "zone-1", START))
    assert list(place.backend.observe(INSTANCE)) == [node]


def test_a_dead_node_is_seen_dead_and_never_resumes(place: Place) -> None:
    place.launch(0)
    node = place.wait_for("bank-0", lambda n: n.rpc_address is not None)
    place.kill("bank-0")
    dead = place.wait_for("bank-0", lambda n: not n.running)
    assert (dead.node_id, dead.rpc_address) == (node.node_id, node.rpc_address)
    place.launch(0)
    assert not place.wait_for("bank-0", lambda n: True).running


def test_any_other_process_observes_and_discards(place: Place) -> None:
    place.launch(0)
    node = place.wait_for("bank-0", lambda n: n.rpc_address is not None)
    assert list(place.another().observe(INSTANCE)) == [node]
    place.another().discard(INSTANCE, "bank-0")
    assert place.backend.observe(INSTANCE) == []


def test_discarding_removes_everything_and_may_be_repeated(place: Place) -> None:
    place.launch(0)
    place.launch(1)
    place.backend.discard(INSTANCE, "bank-0")
    place.backend.discard(INSTANCE, "bank-0")
    assert [n.name for n in place.backend.observe(INSTANCE)] == ["bank-1"]
    place.backend.discard(INSTANCE, "bank-1")
    assert place.backend.holds(INSTANCE)
    place.backend.remove_instance(INSTANCE)
    assert not place.backend.holds(INSTANCE)
    place.backend.remove_instance(INSTANCE)


def test_instances_do_not_see_each_other(place: Place) -> None:
    place.launch(0)
    assert place.backend.observe("another") == []
    assert not place.backend.holds("another")
    place.backend.discard("another", "bank-0")
    assert [n.name for n in place.backend.observe(INSTANCE)] == ["bank-0"]


# Promises that need a real process to be broken.


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ProcessBackend]:
    backend = ProcessBackend(Settings(data_dir=tmp_path), STAND_IN)
    yield backend
    backend.remove_instance(INSTANCE)


@pytest.mark.ci
def test_nodes_outlive_the_process_that_launched_them(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from tests.backends.test_promises import *\n"
        "b = ProcessBackend(Settings(data_dir=Path(sys.argv[1])), STAND_IN)\n"
        "b.launch(NodeSpec(INSTANCE, 'bank-0', 0, 'zone-1', START))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path), root]).returncode == -signal.SIGKILL
    backend = ProcessBackend(Settings(data_dir=tmp_path), STAND_IN)
    try:
        _wait(lambda: [n.running and n.rpc_address is not None for n in backend.observe(INSTANCE)] == [True])
    finally:
        backend.remove_instance(INSTANCE)


@pytest.mark.ci
def test_a_node_that_dies_at_once_leaves_its_last_words(process: ProcessBackend, tmp_path: Path) -> None:
    zone = tmp_path / "instances" / INSTANCE / "zone-1"
    zone.mkdir(parents=True)
    (zone / "die").touch()
    process.launch(NodeSpec(INSTANCE, "bank-0", 0, "zone-1", START))
    _wait(lambda: [n.running for n in process.observe(INSTANCE)] == [False])
    assert process.observe(INSTANCE)[0].last_words == "told to die"
    (zone / "die").unlink()


@pytest.mark.ci
def test_a_stopped_node_that_does_not_listen_is_killed(process: ProcessBackend, tmp_path: Path) -> None:
    process.launch(NodeSpec(INSTANCE, "bank-0", 0, "zone-1", START))
    _wait(lambda: (tmp_path / "instances" / INSTANCE / "zone-1" / "bank-0" / "node.pid").exists())
    pid = _pid(tmp_path, "bank-0")
    os.kill(pid, signal.SIGSTOP)
    assert process.observe(INSTANCE)[0].running, "a suspended node is not dead"
    process.discard(INSTANCE, "bank-0")
    assert not _exists(pid)


@pytest.mark.ci
def test_a_stranger_with_the_pid_of_a_dead_node_is_left_alone(process: ProcessBackend, tmp_path: Path) -> None:
    """The pid in the node's file now belongs to someone else, as after a reboot."""
    process.launch(NodeSpec(INSTANCE, "bank-0", 0, "zone-1", START))
    directory = tmp_path / "instances" / INSTANCE / "zone-1" / "bank-0"
    _wait(lambda: (directory / "node.pid").exists())
    os.kill(_pid(tmp_path, "bank-0"), signal.SIGKILL)
    _wait(lambda: not process.observe(INSTANCE)[0].running)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (directory / "node.pid").write_text(str(stranger.pid))
        (directory / "launch.json").write_text(
            (directory / "launch.json").read_text().replace('"pid": ', f'"pid": {stranger.pid}, "old": ')
        )
        assert not process.observe(INSTANCE)[0].running
        process.discard(INSTANCE, "bank-0")
        assert stranger.poll() is None
        stranger.communicate(b"\n")


@pytest.mark.ci
def test_half_a_launch_is_completed_by_the_same_launch(process: ProcessBackend, tmp_path: Path) -> None:
    """In both forms: nothing was started yet, or the process runs and only the record is missing."""
    directory = tmp_path / "instances" / INSTANCE / "zone-1" / "bank-0"
    directory.mkdir(parents=True)
    (directory / "0.config.json").write_text("{")
    assert process.observe(INSTANCE) == []
    spec = NodeSpec(INSTANCE, "bank-0", 0, "zone-1", START)
    process.launch(spec)
    _wait(lambda: process.observe(INSTANCE)[0].rpc_address is not None)
    pid = _pid(tmp_path, "bank-0")
    (directory / "launch.json").unlink()
    assert process.observe(INSTANCE) == []
    process.launch(spec)
    assert [n.running for n in process.observe(INSTANCE)] == [True]
    assert _pid(tmp_path, "bank-0") == pid


@pytest.mark.ci
def test_a_node_gets_no_environment_and_its_files_are_private(process: ProcessBackend, tmp_path: Path) -> None:
    os.environ["CANARY"] = "seen"
    try:
        process.launch(NodeSpec(INSTANCE, "bank-0", 0, "zone-1", START))
    finally:
        del os.environ["CANARY"]
    directory = tmp_path / "instances" / INSTANCE / "zone-1" / "bank-0"
    _wait(lambda: (directory / "node.pid").exists())
    environment = Path(f"/proc/{_pid(tmp_path, 'bank-0')}/environ").read_bytes()
    assert b"CANARY" not in environment
    assert directory.stat().st_mode & 0o077 == 0


def _pid(data_dir: Path, name: str) -> int:
    (path,) = data_dir.glob(f"instances/{INSTANCE}/*/{name}/node.pid")
    return int(path.read_text())


def _exists(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _wait(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)
