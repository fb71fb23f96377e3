"""The recovery of a service of real node processes: new nodes from an old ledger, consent, shares, open again."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dataplane.client.session import Session
from dataplane.client.signing import IdentityFiles
from dataplane.crypto.keys import load_rsa_private_key
from tests.support.nodes import Service, wait_until


def begin_recovery(
    lost: Service,
    directory: Path,
    *,
    ledger: Path | None = None,
    snapshots: Path | None = None,
    count: int = 1,
    settings: Mapping[str, Any] | None = None,
    recover: Mapping[str, Any] | None = None,
) -> Service:
    """A service of `count` new nodes from a ledger directory, by default that of the first node of `lost`.

    Returns when all nodes are part of the public network; members must now agree.
    """
    directory.mkdir(parents=True, exist_ok=True)
    service = Service(directory, {**lost.settings, **(settings or {})})
    service.members, service.users = lost.members, lost.users
    identity = directory / "previous_service_cert.pem"
    identity.write_text(lost.certificate)
    command = {
        "type": "Recover",
        "recover": {
            "previous_service_identity_file": str(identity),
            "initial_service_certificate_validity_days": 90,
            **(recover or {}),
        },
    }
    try:
        first = service._launch(command, ledger=ledger or lost.nodes[0].ledger, snapshots=snapshots)
        certificate = first.directory / "service_cert.pem"
        wait_until("the new service certificate", lambda: certificate.exists() or not first.alive, 60)
        assert first.alive, first.log()[-2000:]
        service.certificate = certificate.read_text()
        service._wait_ready(first)
        for _ in range(count - 1):
            service.join(wait=False, snapshot=snapshots is not None)
        for node in service.nodes:
            service._wait_ready(node)
    except BaseException:
        service.stop(check=False)
        raise
    return service


def agree(service: Service, previous_certificate: str) -> None:
    """The members acknowledge the new state and agree to open the service."""
    for member in service.members:
        service.member(member).activate()
    service.pass_proposal([transition(service, previous_certificate)])


def transition(service: Service, previous_certificate: str) -> dict[str, Any]:
    """The action that names both identities."""
    identities = {"next_service_identity": service.certificate, "previous_service_identity": previous_certificate}
    return {"name": "transition_service_to_open", "args": identities}


def share_of(service: Service, member: IdentityFiles) -> bytes:
    """A member's recovery share, decrypted."""
    assert member.encryption_private_key is not None
    return service.member(member).recovery_share(load_rsa_private_key(member.encryption_private_key.read_bytes()))


def submit_shares(service: Service, members: Sequence[IdentityFiles]) -> list[dict[str, Any]]:
    """Each member submits its share; what it was told."""
    return [service.member(member).submit_recovery_share(share_of(service, member)) for member in members]


def wait_until_open(service: Service) -> None:
    """Every node is part of the open service."""
    for node in service.alive():
        session = service.session(node)
        wait_until(f"{node.name} to be part of the open service", partial(_is_open, session), 60)


def _is_open(session: Session) -> bool:
    part_of_network = session.get_json("/node/state")["state"] == "PartOfNetwork"
    return part_of_network and session.request("GET", "/node/ready/app").status == 204
