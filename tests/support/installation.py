"""A whole installation in a temporary directory: `mccf` commands, an ARM client, its parts and nodes by pid."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from controlplane.parts import running_parts, running_supervisor
from controlplane.settings import Settings, load
from dataplane.client.bundle import load_bundle, set_js_app
from dataplane.client.session import Session
from dataplane.client.signing import IdentityFiles, Member, file_signer, new_identity
from samples.quickstart import API_VERSION, Arm
from tests.support.nodes import ROOT, wait_until
from tests.support.ports import free_port

GROUPS_VERSION = "2024-11-01"
NODES_VERSION = "2026-01-01-preview"


class Client(Arm):
    """The quickstart's ARM client, for instances of any name in the group `rg`."""

    def path(self, name: str) -> str:
        return f"{self.subscription}/resourceGroups/rg/providers/Microsoft.ConfidentialLedger/managedCCFs/{name}"

    def properties(self, name: str) -> dict[str, Any]:
        return dict(self.get(self.path(name))["properties"])

    def certificate(self, name: str) -> str:
        """The service certificate, from the identity service."""
        return str(self.get(f"/ledgerIdentity/{name}")["ledgerTlsCertificate"])

    def nodes_of(self, name: str) -> dict[str, dict[str, Any]]:
        listed = self.get(f"{self.path(name)}/providers/Mccf.Instances/nodes", NODES_VERSION)["value"]
        return {node["name"]: node for node in listed}

    def begin(self, name: str, member: IdentityFiles) -> httpx.Response:
        """Ask for an instance of three nodes; the answer names the operation to follow."""
        self.put(f"{self.subscription}/resourcegroups/rg", {"location": "southcentralus"}, GROUPS_VERSION)
        return self.put(self.path(name), instance_body(member))

    def create(self, name: str, member: IdentityFiles) -> dict[str, Any]:
        """A new instance, from the group to `Succeeded`; its properties."""
        self.follow(self.begin(name, member))
        return self.properties(name)

    def close(self) -> None:
        self._client.close()

    def delete(self, name: str) -> None:
        """Delete an instance and wait until that is over."""
        answer = self._client.delete(f"{self.base}{self.path(name)}", params={"api-version": API_VERSION})
        assert answer.status_code == 202, answer.text
        self.follow(answer)


class Installation:
    """`mccf` on a data directory of its own. Use as a context manager: everything is stopped at the end."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.environment = {
            "HOME": str(directory),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "MCCF_DATA_DIR": str(directory / "mccf"),
            "MCCF_PORT": str(free_port()),
            **{f"MCCF_{name.upper()}": value for name, value in settings.items()},
        }
        self._clients: list[Client] = []
        self._identities: dict[str, IdentityFiles] = {}

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self.mccf("down", "--nodes")

    @property
    def settings(self) -> Settings:
        return load(self.environment)

    def mccf(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "controlplane.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180
        )

    def up(self) -> Client:
        """Start, and sign in."""
        done = self.mccf("up")
        assert done.returncode == 0, done.stderr + self.logs()
        self._clients.append(Client(json.loads(self.settings.credentials_file.read_text())))
        return self._clients[-1]

    def logs(self) -> str:
        return "\n".join(f"{path}\n{path.read_text()[-2000:]}" for path in self.settings.logs_dir.glob("*.log"))

    def kill(self, part: str) -> None:
        """`kill -9` one part, or the supervisor."""
        pid = running_supervisor(self.settings) if part == "supervisor" else running_parts(self.settings).get(part)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def node_pids(self, instance: str) -> dict[str, int]:
        """Living nodes of an instance by name."""
        found = {}
        for path in self.settings.instances_dir.glob(f"*/*/{instance}-*/node.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if Path(f"/proc/{pid}/cwd").readlink() == path.parent.resolve():
                    found[path.parent.name] = pid
        return found

    def member(self) -> IdentityFiles:
        """The customer's member, made at first use."""
        return self._identity("member0", encryption_key=True)

    def user(self) -> IdentityFiles:
        """A user of the application, made at first use."""
        return self._identity("user0", encryption_key=False)

    def _identity(self, name: str, *, encryption_key: bool) -> IdentityFiles:
        if name not in self._identities:
            keys = self.directory / "keys" / name
            keys.mkdir(parents=True)
            self._identities[name] = new_identity(name, keys, encryption_key=encryption_key)
        return self._identities[name]


def instance_body(member: IdentityFiles, node_count: int = 3) -> dict[str, Any]:
    assert member.encryption_public_key is not None
    identity = {
        "certificate": member.certificate.read_text(),
        "encryptionkey": member.encryption_public_key.read_text(),
        "tags": {"identifier": "member0"},
    }
    properties = {
        "nodeCount": node_count,
        "deploymentType": {"languageRuntime": "JS", "appSourceUri": "customImage"},
        "memberIdentityCertificates": [identity],
    }
    return {"location": "southcentralus", "properties": properties}


def activate(installation: Installation, session: Session) -> Member:
    """The member acknowledges the service; the operator opens it by itself."""
    files = installation.member()
    member = Member(session, file_signer(files.certificate, files.private_key))
    member.activate()
    wait_until("the service to open", lambda: session.get_json("/node/network")["service_status"] == "Open")
    return member


def open_with_app(installation: Installation, arm: Client, app: Path, name: str = "bank") -> Session:
    """A new instance with an application, open for its first user; that user's session with `appUri`."""
    uri, certificate = arm.create(name, installation.member())["appUri"], arm.certificate(name)
    user = installation.user()
    set_user = {"name": "set_user", "args": {"cert": user.certificate.read_text()}}
    with Session(uri, certificate) as session:
        member = activate(installation, session)
        proposal = member.propose([set_js_app(load_bundle(app)), set_user])
        assert member.accept(proposal["proposalId"])["proposalState"] == "Accepted"
        accepted = session.request("GET", "/node/network").txid
        assert accepted is not None
        session.wait_for_commit(accepted)  # until then a change of primary may undo it
    return Session(uri, certificate, (user.certificate, user.private_key))
