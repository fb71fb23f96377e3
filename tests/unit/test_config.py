"""The node's configuration: the original's example is taken, what is wrong is named (drop-in.md 3.3, 3.6)."""

import copy
from typing import Any

import pytest

from dataplane.config import ConfigError, Curve, JoinCommand, StartCommand, parse_config, parse_size, parse_time_ms
from dataplane.redirections import Redirections

START: dict[str, Any] = {
    "network": {
        "node_to_node_interface": {"bind_address": "127.0.0.1:0", "published_address": ""},
        "rpc_interfaces": {
            "primary_rpc_interface": {
                "app_protocol": "HTTP1",
                "bind_address": "127.0.0.1:0",
                "endorsement": {"authority": "Service"},
                "http_configuration": {"max_body_size": "1048576", "max_header_size": "16384"},
                "max_open_sessions_hard": 1010,
                "protocol": "tcp",
                "published_address": "127.0.0.1:0",
                "something_of_a_later_release": {"kept": True},
            }
        },
    },
    "command": {
        "type": "Start",
        "service_certificate_file": "service_cert.pem",
        "start": {
            "members": [
                {
                    "certificate_file": "member0_cert.pem",
                    "data_json_file": None,
                    "encryption_public_key_file": "member0_enc_pubk.pem",
                }
            ],
            "constitution_files": ["actions.js", "apply.js"],
            "service_configuration": {"recovery_threshold": 0},
            "cose_signatures": {"issuer": "service.example.com", "subject": "ledger.signature"},
        },
        "join": {"retry_timeout": "1s", "target_rpc_address": "", "follow_redirect": True},
        "recover": {"previous_service_identity_file": ""},
    },
    "ledger": {"directory": "0.ledger", "read_only_directories": [], "chunk_size": "40KB"},
    "snapshots": {"directory": "0.snapshots", "tx_count": 50, "read_only_directory": None},
    "consensus": {"message_timeout": "100ms", "election_timeout": "5000ms", "max_uncommitted_tx_count": 0},
    "ledger_signatures": {"tx_count": 5000, "delay": "200ms"},
    "memory": {"circuit_size": "16MB"},
    "worker_threads": 0,
}


def changed(path: str, value: object) -> dict[str, Any]:
    """`START` with one value set."""
    document = copy.deepcopy(START)
    *parents, name = path.split("/")
    target = document
    for parent in parents:
        target = target.setdefault(parent, {})
    target[name] = value
    return document


def test_the_start_configuration() -> None:
    config = parse_config(START)
    assert isinstance(config.command, StartCommand)
    assert config.command.cose_issuer == "service.example.com"
    assert (config.chunk_size, config.signature_delay_ms, config.max_uncommitted_tx_count) == (40 << 10, 200, 0)
    assert config.node_to_node_published == config.node_to_node_bind


def test_defaults_are_the_originals() -> None:
    document = {"network": START["network"], "command": START["command"]}
    config = parse_config(document)
    assert (config.election_timeout_ms, config.message_timeout_ms, config.signature_delay_ms) == (5000, 100, 1000)
    assert (config.chunk_size, config.signature_tx_count, config.tick_interval_ms) == (5 << 20, 5000, 10)
    assert config.idle_connection_timeout_ms == 60_000
    assert config.jwt_key_refresh_interval_ms == 30 * 60_000


def test_the_curve_of_a_nodes_key() -> None:
    assert parse_config(START).node_certificate.curve is Curve.SECP384R1
    assert parse_config(changed("node_certificate/curve_id", "Secp256R1")).node_certificate.curve is Curve.SECP256R1
    with pytest.raises(ConfigError) as refused:
        parse_config(changed("node_certificate/curve_id", "Secp521R1"))
    assert refused.value.path == "node_certificate.curve_id"


def test_pre_vote_and_redirections_are_off_unless_asked_for() -> None:
    config = parse_config(START)
    assert (config.pre_vote, config.interfaces[0].redirections) == (False, None)
    assert parse_config(changed("consensus/pre_vote", True)).pre_vote
    interface = "network/rpc_interfaces/primary_rpc_interface"
    assert parse_config(changed(f"{interface}/redirections", {})).interfaces[0].redirections == Redirections()
    with pytest.raises(ConfigError) as refused:
        parse_config(changed(f"{interface}/redirections", {"to_primary": {"kind": "Oracle"}}))
    assert refused.value.path == f"{interface.replace('/', '.')}.redirections.to_primary.kind"


def test_an_interface_keeps_keys_it_does_not_know() -> None:
    (interface,) = parse_config(START).interfaces
    assert interface.document == START["network"]["rpc_interfaces"]["primary_rpc_interface"]


def test_a_joining_node() -> None:
    document = changed("command/type", "Join")
    document["command"]["join"]["target_rpc_address"] = "127.0.0.1:8000"
    command = parse_config(document).command
    assert isinstance(command, JoinCommand)
    assert (str(command.target_rpc_address), command.retry_timeout_ms) == ("127.0.0.1:8000", 1000)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("command/type", "Recover", "command.recover.previous_service_identity_file"),
        ("command/type", "Stop", "command.type"),
        ("network/rpc_interfaces/primary_rpc_interface/redirections", {"to_primary": {}}, "redirections"),
        ("network/rpc_interfaces/primary_rpc_interface/app_protocol", "HTTP2", "app_protocol"),
        ("network/rpc_interfaces/primary_rpc_interface/bind_address", "nowhere", "bind_address"),
        ("network/rpc_interfaces", {}, "network.rpc_interfaces"),
        ("ledger/read_only_directories", "old", "ledger.read_only_directories"),
        ("snapshots/tx_count", 0, "snapshots.tx_count"),
        ("ledger/chunk_size", "5 bananas", "ledger.chunk_size"),
        ("ledger/chunk_size", "0", "ledger.chunk_size"),
        ("snapshots/read_only_directory", ["old"], "snapshots.read_only_directory"),
        ("consensus/election_timeout", "fast", "consensus.election_timeout"),
        ("consensus/unknown", 1, "consensus.unknown"),
        ("unknown", 1, "unknown"),
        ("jwt/key_refresh_interval", "0s", "jwt.key_refresh_interval"),
        ("jwt/unknown", 1, "jwt.unknown"),
        ("command/start/members", [], "command.start.members"),
        ("ledger_signatures/tx_count", True, "ledger_signatures.tx_count"),
        ("output_files/sealed_ledger_secret_location", 1, "output_files.sealed_ledger_secret_location"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: object, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(path, value))
    assert named in str(caught.value)


@pytest.mark.parametrize(("text", "size"), [("5MB", 5 << 20), ("20KB", 20 << 10), ("1048576", 1 << 20), ("3B", 3)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "ms"), [("100ms", 100), ("5s", 5000), ("10us", 1), ("1min", 60_000), ("1h", 3_600_000)]
)
def test_times(text: str, ms: int) -> None:
    assert parse_time_ms(text) == ms
