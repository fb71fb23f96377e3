"""Starting a new service (node-api.md 6.3): its keys, its first ledger secret, and genesis."""

import secrets
from datetime import datetime
from pathlib import Path

from dataplane.config import Config, StartCommand
from dataplane.governance.service import Genesis, write_genesis
from dataplane.node.assembly import Parts
from dataplane.node.first_node import SECRET_BYTES, endorse_self, publish_service
from dataplane.node.identity import new_service_identity
from dataplane.node.lifecycle import NodeState
from dataplane.node.startup_files import StartFailed, read_json, read_member, read_text


def check_ledger_directory(config: Config) -> None:
    """A new service writes over no ledger. Raises `StartFailed`."""
    directory = Path(config.ledger_directory)
    if directory.exists() and any(directory.iterdir()):
        raise StartFailed(f"On start, ledger directory should not exist or be empty ({directory})")


def start_service(parts: Parts, command: StartCommand, now: datetime) -> None:
    """Be the first node of a new service. Raises `StartFailed`, `InvalidMember`, `SharesNotPossible`."""
    days = command.initial_service_certificate_validity_days
    service = new_service_identity(command.service_subject_name, now, days)
    parts.credentials.take_service(service, (command.cose_issuer, command.cose_subject))
    parts.secrets.add(1, secrets.token_bytes(SECRET_BYTES))
    endorsed = endorse_self(parts, service, now)
    tx = parts.replica.begin()
    write_genesis(tx, _genesis(parts, command, service.certificate, endorsed))
    parts.replica.submit(tx)
    publish_service(parts, service)
    parts.node.advance(NodeState.PART_OF_NETWORK)


def _genesis(parts: Parts, command: StartCommand, service_cert_pem: str, node_cert_pem: str) -> Genesis:
    configuration = command.service_configuration
    evidence = parts.description.attest()
    claims = parts.description.claims(evidence)
    return Genesis(
        service_cert_pem=service_cert_pem,
        members=[read_member(member) for member in command.members],
        constitution="\n".join(read_text(path) for path in command.constitution_files),
        node=parts.description.record(evidence),
        node_cert_pem=node_cert_pem,
        recovery_threshold=configuration.recovery_threshold,
        maximum_node_certificate_validity_days=configuration.maximum_node_certificate_validity_days,
        maximum_service_certificate_validity_days=configuration.maximum_service_certificate_validity_days,
        service_data=read_json(parts.config.service_data_json_file),
        virtual_measurement=claims.measurement,
        virtual_host_data=claims.host_data,
    )
