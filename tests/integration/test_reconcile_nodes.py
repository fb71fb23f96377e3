"""Turns over real nodes of the process backend, without API, worker or gateway."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.ccf_operator.constitution import managed_constitution
from controlplane.ccf_operator.sample_app import sample_bundle
from controlplane.reconcile.loop import Turn, reconcile
from controlplane.worker.world import make_world
from dataplane.client.session import Session
from dataplane.client.signing import IdentityFiles, Member, file_signer, new_identity
from tests.support.control_plane import ControlPlane, open_control_plane
from tests.support.nodes import wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes"), pytest.mark.timeout(300)]


class Turns:
    """One instance of real nodes, taken turns at."""

    def __init__(self, directory: Path) -> None:
        self.plane: ControlPlane = open_control_plane(directory)
        self.plane.now = datetime.now(UTC)
        world = make_world(self.plane.settings, self.plane.database)
        self.world = replace(world, gateway_listens=lambda _port: True)
        self.member_files: IdentityFiles = new_identity("member0", directory, encryption_key=True)
        self.instance_id = ""

    def put(self, **desired: object) -> None:
        key = self.member_files.encryption_public_key
        assert key is not None
        certificate = self.member_files.certificate.read_text()
        members = [{"certificate": certificate, "encryptionkey": key.read_text(), "tags": {"identifier": "m0"}}]
        self.instance_id = self.plane.put(memberIdentityCertificates=members, **desired)

    def turn(self) -> Turn:
        return reconcile(self.world, self.instance_id)

    def settle(self) -> None:
        wait_until("the instance to be settled", lambda: self.turn() is Turn.FINISHED, 120)

    def session(self, role: str = "Primary") -> Session:
        node = next(n for n in self.plane.nodes(self.instance_id).values() if n.role == role)
        certificate = self.plane.instance(self.instance_id).service_certificate
        assert certificate is not None
        return Session(f"https://{node.rpc_address}", certificate)

    def member(self, session: Session) -> Member:
        return Member(session, file_signer(self.member_files.certificate, self.member_files.private_key))

    def kill(self, role: str) -> str:
        name = next(n.name for n in self.plane.nodes(self.instance_id).values() if n.role == role)
        (path,) = self.plane.settings.instances_dir.glob(f"*/*/{name}/node.pid")
        os.kill(int(path.read_text()), signal.SIGKILL)
        return name

    def close(self) -> None:
        self.world.backend.remove_instance(self.instance_id)
        self.plane.database.close()


@pytest.fixture
def turns(tmp_path: Path) -> Iterator[Turns]:
    made = Turns(tmp_path)
    yield made
    made.close()


def test_the_life_of_an_instance(turns: Turns) -> None:
    turns.put()
    turns.settle()
    row = turns.plane.instance(turns.instance_id)
    assert (row.provisioning_state, row.service_state) == ("Succeeded", "Opening")
    with turns.session() as session:
        member = turns.member(session)
        assert row.waiting_for_members == [member.id]
        assert {n.zone for n in turns.plane.nodes(turns.instance_id).values()} == set(turns.plane.settings.zones)
        backup = turns.kill("Backup")
        turns.settle()
        assert backup not in turns.plane.nodes(turns.instance_id), "a dead node is replaced while opening too"
        member.activate()
    turns.settle()
    assert turns.plane.instance(turns.instance_id).service_state == "Open"
    for _ in range(2):
        primary = turns.kill("Primary")
        turns.settle()
        nodes = turns.plane.nodes(turns.instance_id)
        assert primary not in nodes
        assert [n.state for n in nodes.values()] == ["Running"] * 3
    with turns.session() as session:
        listed = session.get_json("/node/network/nodes")["nodes"]
        assert sorted(node["status"] for node in listed) == ["Trusted"] * 3, "no record of the dead is left"
        info = session.get_json("/gov/service/info?api-version=2024-07-01")
        assert info["configuration"]["recoveryThreshold"] == 1
    turns.plane.now = datetime.now(UTC)
    turns.plane.delete(turns.instance_id)
    turns.settle()
    assert not turns.plane.exists(turns.instance_id)
    assert not list(turns.plane.settings.instances_dir.iterdir())


def test_where_the_operator_may_do_nothing_alone_the_members_are_asked_once(turns: Turns) -> None:
    mark = "if (isActiveOperator(members.get(proposerId))"
    assert mark in managed_constitution()
    turns.put(constitution=managed_constitution().replace(mark, "if (false"))
    turns.settle()
    with turns.session() as session:
        member = turns.member(session)
        member.activate()
        for _ in range(2):
            assert turns.turn() is Turn.FINISHED
        proposals = session.get_json("/gov/members/proposals?api-version=2024-07-01")["value"]
        assert [p["proposalState"] for p in proposals] == ["Open"]
        assert turns.plane.kinds().count("service.votes_awaited") == 1
        member.accept(proposals[0]["proposalId"])
    turns.settle()
    assert turns.plane.instance(turns.instance_id).service_state == "Open"


def test_the_sample_app_is_there_when_the_service_opens(turns: Turns) -> None:
    turns.put(deploymentType={"languageRuntime": "JS", "appSourceUri": "sample"})
    turns.settle()
    with turns.session() as session:
        modules = session.get_json("/gov/service/javascript-modules?api-version=2024-07-01")["value"]
        assert {m["moduleName"] for m in modules} == {f"/{m['name']}" for m in sample_bundle()["modules"]}
        turns.member(session).activate()
    turns.settle()
    assert turns.plane.instance(turns.instance_id).service_state == "Open"
    with turns.session() as session:
        assert session.request("GET", "/app/accounts/alice").status == 401, "the app asks for a user's certificate"
        assert session.request("GET", "/app/nothing").status == 404
    assert turns.plane.kinds().count("app.installed") == 1
