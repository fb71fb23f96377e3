"""Carry out one step. Each is idempotent: repeated after a crash, it finds its work done and does no more.

The database is written after the world has changed, never before: what is is asked of backend and service, and rows
only describe it. Nothing is written where the lease is no longer ours.
"""

import socket
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.arm.validation import SAMPLE, app_source
from controlplane.backends.backend import JoinSpec, MemberSpec, NodeSpec, StartSpec
from controlplane.ccf_operator.constitution import managed_constitution
from controlplane.ccf_operator.sample_app import sample_digest
from controlplane.ccf_operator.service import Operator, ServiceUnavailable
from controlplane.reconcile import record
from controlplane.reconcile.model import (
    ActivateOperator,
    DiscardNode,
    ForgetNode,
    InstallSampleApp,
    LaunchMode,
    LaunchNode,
    OpenService,
    RemoveLeftovers,
    RetireNode,
    Route,
    Step,
    TrustNode,
)
from controlplane.reconcile.record import Snapshot
from controlplane.reconcile.world import World
from controlplane.store import lease
from controlplane.store.queries import instances_of_subscription

OPERATOR_DATA = {"is_operator": True, "owner": "mccf"}
FIRST_GATEWAY_PORT = 20_000
LAST_GATEWAY_PORT = 29_999
"""Below the range the kernel takes for outgoing connections, so that a port is still free after a restart."""


class LeaseLost(Exception):
    """Someone newer owns the instance."""


class NoPort(Exception):
    """Every gateway port is taken."""


def perform(world: World, snapshot: Snapshot, token: str, step: Step, operator: Operator | None) -> None:
    """Carry out `step`. Raises `BackendError`, the errors of `ccf_operator.service`, or `LeaseLost`."""
    match step:
        case LaunchNode():
            _launch(world, snapshot, token, step, operator)
        case DiscardNode():
            _discard(world, snapshot, token, step)
        case Route():
            _route(world, snapshot, token, step)
        case RemoveLeftovers():
            world.backend.remove_instance(snapshot.instance.id)
            world.forget_operator(snapshot.instance.id)
        case _:
            _govern(_required(operator), step)
            _note(world, snapshot, token, *_EVENTS[type(step)])


def _govern(operator: Operator, step: Step) -> None:
    match step:
        case ActivateOperator():
            operator.activate()
        case TrustNode():
            operator.admit(step.node_id, step.retire)
        case RetireNode():
            operator.retire(step.node_id)
        case ForgetNode():
            operator.forget(step.node_id)
        case InstallSampleApp():
            operator.install_sample_app()
        case OpenService():
            operator.open_service()
        case _:
            raise AssertionError(f"{step} is not a step of governance")


_EVENTS: dict[type, tuple[str, str]] = {
    ActivateOperator: ("operator.activated", "The operator acknowledged its membership."),
    TrustNode: ("node.trusted", "A new node was trusted."),
    RetireNode: ("node.retired", "A node was removed from the service."),
    ForgetNode: ("node.forgotten", "The record of a retired node was deleted."),
    InstallSampleApp: ("app.installed", "The sample application was installed."),
    OpenService: ("service.opened", "The service was opened."),
}


def _launch(world: World, snapshot: Snapshot, token: str, step: LaunchNode, operator: Operator | None) -> None:
    instance = snapshot.instance
    if step.mode is LaunchMode.START:
        command: StartSpec | JoinSpec = start_spec(snapshot, world.operator_certificate(instance.id))
    else:
        assert step.target is not None, "a joiner has a node to join through"
        command = JoinSpec(step.target, _required(operator).certificate)
    names = tuple(
        dict.fromkeys((f"iPAddress:{world.settings.instance_host}", "iPAddress:127.0.0.1", "dNSName:localhost"))
    )
    world.backend.launch(NodeSpec(instance.id, step.name, step.ordinal, step.zone, command, names))
    now = world.clock()
    notes = replace(snapshot.notes, last_launch_s=now.timestamp())
    with world.database.write() as session:
        _keep(lease.save(session, instance.id, token, observed=notes.as_json()))
        message = f"Node {step.name} was launched in {step.zone}."
        record.add_event(session, snapshot, now, "node.launched", message)


def start_spec(snapshot: Snapshot, operator_certificate: str) -> StartSpec:
    """The genesis of an instance: its customer's members, and the operator without a recovery share (decisions 5)."""
    desired = snapshot.instance.desired
    members = [_member(member) for member in desired["memberIdentityCertificates"]]
    # One share is enough to begin with: members raise the threshold themselves by a proposal.
    threshold = 1 if any(member.encryption_key for member in members) else 0
    sample = sample_digest() if app_source(desired) == SAMPLE else None
    constitution = desired.get("constitution") or managed_constitution(sample)
    operator = MemberSpec(operator_certificate, None, OPERATOR_DATA)
    return StartSpec((*members, operator), constitution, threshold, snapshot.instance.name)


def _member(member: dict[str, object]) -> MemberSpec:
    key, tags = member.get("encryptionkey"), member.get("tags")
    return MemberSpec(
        certificate=str(member["certificate"]),
        encryption_key=_public_key(str(key)) if key else None,
        data=tags if isinstance(tags, dict) else None,
    )


def _public_key(pem: str) -> str:
    """The contract allows a certificate in place of the key it holds (control-plane.md 1.3)."""
    if "BEGIN CERTIFICATE" not in pem:
        return pem
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _discard(world: World, snapshot: Snapshot, token: str, step: DiscardNode) -> None:
    world.backend.discard(snapshot.instance.id, step.name)
    notes = replace(snapshot.notes, failed_launches=snapshot.notes.failed_launches + step.failed)
    with world.database.write() as session:
        _keep(lease.save(session, snapshot.instance.id, token, observed=notes.as_json()))
        kind, level = ("node.failed", "Warning") if step.failed else ("node.discarded", "Informational")
        record.add_event(session, snapshot, world.clock(), kind, f"Node {step.name} was cleared away.", level)


def _route(world: World, snapshot: Snapshot, token: str, step: Route) -> None:
    instance = snapshot.instance
    with world.database.write() as session:
        taken = {other.gateway_port for other in instances_of_subscription(session, instance.subscription_id)}
        port = instance.gateway_port or _free_port(world.settings.instance_host, taken)
        _keep(lease.save(session, instance.id, token, gateway_port=port))
        record.route(session, snapshot, step.names, world.clock())


def _free_port(host: str, taken: set[int | None]) -> int:
    for port in range(FIRST_GATEWAY_PORT, LAST_GATEWAY_PORT + 1):
        if port not in taken and _can_listen(host, port):
            return port
    raise NoPort(f"no port from {FIRST_GATEWAY_PORT} to {LAST_GATEWAY_PORT} is free")


def _can_listen(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _note(world: World, snapshot: Snapshot, token: str, kind: str, message: str) -> None:
    with world.database.write() as session:
        _keep(lease.save(session, snapshot.instance.id, token, lease_token=token))
        record.add_event(session, snapshot, world.clock(), kind, message)


def _keep(held: bool) -> None:
    if not held:
        raise LeaseLost


def _required(operator: Operator | None) -> Operator:
    if operator is None:
        raise ServiceUnavailable("the service has no certificate yet")
    return operator
