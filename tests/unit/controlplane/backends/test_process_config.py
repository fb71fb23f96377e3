"""What the process backend writes for a node is what the node's own parser accepts (drop-in.md 3.3)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.backends.backend import JoinSpec, MemberSpec, NodeSpec, StartSpec
from controlplane.backends.process import node_config, node_files, node_host
from controlplane.backends.registry import UnknownBackend, load_backend
from controlplane.settings import Settings
from dataplane.config import JoinCommand, StartCommand, parse_config

SETTINGS = Settings(data_dir=Path("/nowhere"), node_chunk_size="100KB")
MEMBERS = (MemberSpec("certificate 0", "key 0", {"identifier": "m0"}), MemberSpec("certificate 1", None, None))
START = NodeSpec("i", "bank-0", 0, "zone-2", StartSpec(MEMBERS, "constitution", 1, "bank"), ("dNSName:localhost",))
JOIN = NodeSpec("i", "bank-7", 7, "zone-3", JoinSpec("127.101.1.1:4000", "service certificate"))


def test_start() -> None:
    config = parse_config(node_config(START, SETTINGS))
    assert isinstance(config.command, StartCommand)
    assert [m.encryption_public_key_file for m in config.command.members] == ["member0_enc_pubk.pem", None]
    assert [m.data_json_file for m in config.command.members] == ["member0_data.json", None]
    assert config.command.service_configuration.recovery_threshold == 1
    assert config.command.service_subject_name == "CN=bank"
    assert (config.election_timeout_ms, config.message_timeout_ms, config.signature_delay_ms) == (1000, 100, 100)
    assert config.chunk_size == 100 * 1024
    host = node_host(START, SETTINGS.zones)
    assert config.node_certificate.subject_alt_names == (f"iPAddress:{host}", "dNSName:localhost")
    assert {a.host for a in (config.node_to_node_bind, config.interfaces[0].bind)} == {host}
    assert config.node_client_interface == host, "connections to other nodes come from the node's own zone"


def test_join() -> None:
    config = parse_config(node_config(JOIN, SETTINGS))
    assert isinstance(config.command, JoinCommand)
    assert str(config.command.target_rpc_address) == "127.101.1.1:4000"
    assert config.output_files.rpc_addresses_file == "7.rpc_addresses"
    assert node_files(JOIN, SETTINGS)["service_cert.pem"] == "service certificate"


def test_every_file_the_configuration_names_is_there() -> None:
    files = node_files(START, SETTINGS)
    config = parse_config(json.loads(files["0.config.json"]))
    assert isinstance(config.command, StartCommand)
    named = [*config.command.constitution_files, config.node_data_json_file]
    for member in config.command.members:
        named += [member.certificate_file, member.encryption_public_key_file, member.data_json_file]
    assert {name for name in named if name} <= set(files)


def test_zones_are_address_ranges_that_do_not_overlap() -> None:
    hosts = [node_host(replace(START, zone=zone), SETTINGS.zones) for zone in (*SETTINGS.zones, "one of old")]
    assert [host.split(".")[1] for host in hosts] == ["101", "102", "103", "104"]
    assert all(0 < int(part) < 255 for part in hosts[0].split(".")[3:])


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(UnknownBackend, match="no backend is called 'cloud'; known: process"):
        load_backend(replace(SETTINGS, backend="cloud"))
