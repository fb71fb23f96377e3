"""A real service of real node processes, for tests and benchmarks: start, kill, join, replace, stop.

Every node runs `python -m dataplane` in a directory of its own, with the environment a launcher gives (none), on
loopback. What is wrong at the end (a line on standard error, a dead node nobody killed) is an error.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from dataplane.client.bundle import load_bundle, set_js_app
from dataplane.client.session import Session, SessionError
from dataplane.client.signing import IdentityFiles, Member, file_signer, new_identity
from dataplane.governance.managed import managed_constitution

ROOT = Path(__file__).parents[2]
NODE = ("-m", "dataplane")
T = TypeVar("T")


class NodeFault(AssertionError):
    """A node did what it must not, or did not do what it must in time; the text ends with its last words."""


def wait_until(what: str, check: Callable[[], T | None], timeout_s: float = 15) -> T:
    """The first true answer of `check`; `NodeFault` names `what` when there is none in time."""
    deadline = time.monotonic() + timeout_s
    last: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            found = check()
            if found:
                return found
        except (SessionError, OSError, KeyError) as error:
            last = error
        time.sleep(0.02)
    raise NodeFault(f"{what}: not within {timeout_s} s ({last!r})")


@dataclass
class NodeProcess:
    """One node: its directory, its address, its process."""

    name: str
    directory: Path
    address: str
    process: "subprocess.Popen[bytes]"
    killed: bool = False

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    def log(self) -> str:
        """What the node wrote on standard output."""
        return (self.directory / "out").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.killed = True
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NodeFault(f"{self.name} did not stop within 10 s:\n{self.log()[-2000:]}") from None


@dataclass
class Service:
    """A service and everyone who belongs to it."""

    directory: Path
    settings: Mapping[str, Any]
    certificate: str = ""
    program: Sequence[str] = NODE
    nodes: list[NodeProcess] = field(default_factory=list)
    members: list[IdentityFiles] = field(default_factory=list)
    users: dict[str, IdentityFiles] = field(default_factory=dict)
    operator: IdentityFiles | None = None
    _started: int = 0
    _sessions: dict[tuple[str, str | None], Session] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        count: int,
        directory: Path,
        *,
        members: int = 1,
        election_timeout_ms: int = 1000,
        signature_delay_ms: int = 100,
        chunk_size: str = "5MB",
        constitution: str | None = None,
        open_with: Path | None = None,
        settings: Mapping[str, Any] | None = None,
        program: Sequence[str] = NODE,
        operator: bool = False,
    ) -> "Service":
        """A service of `count` nodes. `open_with`: deploy this app directory, add `user0`, open the service.

        `program`: what Python is to run as the node. `operator`: one more member, who runs the machines.
        """
        directory.mkdir(parents=True, exist_ok=True)
        merged = {
            "consensus": {"election_timeout": f"{election_timeout_ms}ms", "message_timeout": "100ms"},
            "ledger_signatures": {"delay": f"{signature_delay_ms}ms"},
            "ledger": {"directory": "ledger", "chunk_size": chunk_size},
            **(settings or {}),
        }
        service = cls(directory, merged, program=program)
        service.members = [new_identity(f"member{i}", directory, encryption_key=True) for i in range(members)]
        if operator:
            service.operator = new_identity("operator", directory, encryption_key=False)
        (directory / "constitution.js").write_text(constitution or managed_constitution(None))
        try:
            service._bring_up(count, open_with)
        except BaseException:
            service.stop(check=False)
            raise
        return service

    def _bring_up(self, count: int, open_with: Path | None) -> None:
        first = self._launch(self._start_command())
        certificate = first.directory / "service_cert.pem"
        wait_until("the service certificate", certificate.exists)
        self.certificate = certificate.read_text()
        self._wait_ready(first)
        for _ in range(count - 1):
            self.join(wait=False)
        for node in self.nodes:
            self._wait_ready(node)
        if open_with is not None:
            self.open(open_with)

    # Nodes

    def join(
        self,
        *,
        wait: bool = True,
        snapshot: bool = False,
        fetch_ledger: bool = False,
        target: NodeProcess | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> NodeProcess:
        """Start one more node, which joins through the first one alive; members trust it once the service is open.

        It replays the ledger from its first transaction unless `snapshot`, and then fetches the rest of it only if
        `fetch_ledger`. `settings` replaces sections of its
        configuration.
        """
        join = {
            "target_rpc_address": (target or self.alive()[0]).address,
            "retry_timeout": "100ms",
            "fetch_recent_snapshot": snapshot,
            "fetch_ledger": fetch_ledger,
        }
        node = self._launch({"type": "Join", "join": join}, settings or {})
        if wait:
            self.trust_pending()
            self._wait_ready(node)
        return node

    def trust_pending(self) -> None:
        """Members trust every Pending node, as soon as there is one."""
        if self.any_session().get_json("/node/network")["service_status"] != "Open":
            return
        pending = wait_until(
            "a Pending node", lambda: self.any_session().get_json("/node/network/nodes?status=Pending")["nodes"]
        )
        valid_from = time.strftime("%y%m%d%H%M%SZ", time.gmtime())
        self.pass_proposal(
            {"name": "transition_node_to_trusted", "args": {"node_id": node["node_id"], "valid_from": valid_from}}
            for node in pending
        )

    def remove(self, node: NodeProcess) -> None:
        """Retire a node by proposal, wait until it may go, and delete its record."""
        node_id = self.node_id(node)
        self.pass_proposal([{"name": "remove_node", "args": {"node_id": node_id}}])
        staying = self.session(next(other for other in self.alive() if other is not node))
        wait_until(
            "the removal to complete",
            lambda: any(
                row["node_id"] == node_id for row in staying.get_json("/node/network/removable_nodes")["nodes"]
            ),
        )
        if node.alive:
            node.stop()
        staying.request("DELETE", f"/node/network/nodes/{node_id}")

    def node_id(self, node: NodeProcess) -> str:
        """The id of a node, alive or not."""
        for row in self.any_session().get_json("/node/network/nodes")["nodes"]:
            if any(i["published_address"] == node.address for i in row["rpc_interfaces"].values()):
                return str(row["node_id"])
        raise NodeFault(f"{node.name} is not in the network")

    def alive(self) -> list[NodeProcess]:
        """Nodes whose process runs."""
        return [node for node in self.nodes if node.alive]

    def primary(self) -> NodeProcess:
        """The node that leads, once the nodes alive know one."""

        def find() -> NodeProcess | None:
            for node in self.alive():
                if self.session(node).request("GET", "/node/primary").status == 200:
                    return node
            return None

        return wait_until("a primary", find)

    # Governance

    def open(self, app: Path | None) -> None:
        """Activate the members, add `user0`, deploy `app`, open the service, wait until it is open."""
        for member in self.members:
            self.member(member).activate()
        user = self.users["user0"] = new_identity("user0", self.directory, encryption_key=False)
        actions = [] if app is None else [set_js_app(load_bundle(app))]
        actions += [
            {"name": "set_user", "args": {"cert": user.certificate.read_text()}},
            {"name": "transition_service_to_open", "args": {"next_service_identity": self.certificate}},
        ]
        self.pass_proposal(actions)
        for session in map(self.session, self.nodes):
            wait_until("the service to open", lambda: session.request("GET", "/app/commit").status == 200)  # noqa: B023

    def member(self, member: IdentityFiles | None = None) -> Member:
        """A member on the first node alive."""
        files = member or self.members[0]
        return Member(self.any_session(), file_signer(files.certificate, files.private_key))

    def pass_proposal(self, actions: Any) -> dict[str, Any]:
        """Propose as the first member and have everybody accept, until it is accepted."""
        proposal = self.member().propose(list(actions))
        for member in self.members:
            if proposal["proposalState"] != "Open":
                break
            proposal = self.member(member).accept(proposal["proposalId"])
        if proposal["proposalState"] != "Accepted":
            raise NodeFault(f"the proposal is {proposal}")
        return proposal

    # Clients

    def session(self, node: NodeProcess | None = None, user: str | None = None) -> Session:
        """A session with a node (default: the first one alive), with a user's certificate or none; kept to the end."""
        url = (node or self.alive()[0]).url
        if (url, user) not in self._sessions:
            files = self.users[user] if user else None
            cert = None if files is None else (files.certificate, files.private_key)
            self._sessions[url, user] = Session(url, self.certificate, cert)
        return self._sessions[url, user]

    def any_session(self) -> Session:
        """A session with the first node alive, without a certificate."""
        return self.session()

    # End

    def stop(self, *, check: bool = True) -> None:
        """Stop every node. With `check`, whatever stands on a standard error is a `NodeFault`."""
        for session in self._sessions.values():
            session.close()
        for node in self.nodes:
            if node.alive:
                node.stop()
        if not check:
            return
        for node in self.nodes:
            errors = (node.directory / "err").read_text(errors="replace")
            if errors:
                raise NodeFault(f"{node.name} wrote on standard error:\n{errors[-2000:]}")

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop(check=kind is None)

    # Processes

    def _start_command(self) -> dict[str, Any]:
        members = [
            {
                "certificate_file": str(member.certificate),
                "encryption_public_key_file": str(member.encryption_public_key),
            }
            for member in self.members
        ]
        if self.operator is not None:
            data = self.directory / "operator.json"
            data.write_text('{"is_operator": true}')
            members.append({"certificate_file": str(self.operator.certificate), "data_json_file": str(data)})
        start = {
            "members": members,
            "constitution_files": [str(self.directory / "constitution.js")],
            "initial_service_certificate_validity_days": 90,
        }
        return {"type": "Start", "start": start}

    def _launch(
        self,
        command: Mapping[str, Any],
        settings: Mapping[str, Any] = MappingProxyType({}),
        ledger: Path | None = None,
        snapshots: Path | None = None,
    ) -> NodeProcess:
        """Start a node process; `ledger` and `snapshots` are what it finds in its directories."""
        name = f"node{self._started}"
        self._started += 1
        directory = self.directory / name
        directory.mkdir()
        if ledger is not None:
            shutil.copytree(ledger, directory / "ledger")
        if snapshots is not None:
            shutil.copytree(snapshots, directory / "snapshots")
        if self.certificate:
            (directory / "service_cert.pem").write_text(self.certificate)
        (directory / "config.json").write_text(json.dumps({**self._config(command), **settings}))
        node = NodeProcess(name, directory, "", spawn_node(directory, ["--config", "config.json"], self.program))
        self.nodes.append(node)
        addresses = directory / "rpc_addresses"
        wait_until(f"{name} to listen", lambda: addresses.exists() or not node.alive, 20)
        if not node.alive:
            raise NodeFault(f"{name} ended with {node.process.returncode}:\n{node.log()[-2000:]}")
        node.address = json.loads(addresses.read_text())["main"]
        return node

    def _config(self, command: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "network": {
                "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
                "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
            },
            "node_certificate": {"initial_validity_days": 90},
            "command": {"service_certificate_file": "service_cert.pem", **command},
            "output_files": {"rpc_addresses_file": "rpc_addresses", "node_certificate_file": "node_cert.pem"},
            **self.settings,
        }

    def _wait_ready(self, node: NodeProcess) -> None:
        def ready() -> bool:
            if not node.alive:
                raise NodeFault(f"{node.name} ended with {node.process.returncode}:\n{node.log()[-2000:]}")
            return self.session(node).request("GET", "/node/ready/gov").status == 204

        wait_until(f"{node.name} to be ready", ready, 20)


def spawn_node(directory: Path, arguments: Sequence[str], program: Sequence[str] = NODE) -> "subprocess.Popen[bytes]":
    """Run a node executable in `directory`; its output goes to the files `out` and `err` there."""
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=directory,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env={"PYTHONPATH": str(ROOT)},
        )


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
