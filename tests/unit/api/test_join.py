"""`POST /node/join`: who is taken, how, and what each refusal is called (node-api.md 6.4)."""

import json
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from dataplane.api.join import join_endpoint
from dataplane.apps.endpoint import Context, Identity, Request, Response
from dataplane.attestation import registry
from dataplane.attestation.platform import Evidence
from dataplane.attestation.snp import verify_report
from dataplane.attestation.snp_tcb import tcb_hex
from dataplane.crypto.certs import (
    create_csr,
    is_issued_by,
    load_certificate,
    self_signed_node_certificate,
)
from dataplane.crypto.keys import key_id, spki_der
from dataplane.errors import CcfError
from dataplane.kv.tables import NODES_ENDORSED_CERTIFICATES, NODES_INFO, SERVICE_INFO, get_json, put_json
from tests.support.governance import HOST_DATA, MEASUREMENT, NOW, World, action, node_key, party, service_cert
from tests.support.snp import HOST_DATA as SNP_HOST_DATA
from tests.support.snp import MEASUREMENT as SNP_MEASUREMENT
from tests.support.snp import NOW as SNP_NOW
from tests.support.snp import TCB, Chip, builder_chain, did, endorse, rsa_key

MEMBERS = [party("alice"), party("bob")]
ADMISSION = {"identity": {"cert": "PEM", "priv_key": "not shown"}, "ledger_secrets": []}


class Target:
    """The node that is asked."""

    is_primary = True
    primary: str | None = "127.0.0.1:1"
    rekeying = False
    startup_seqno = 0

    def primary_address(self, interface: str | None) -> str | None:
        return self.primary

    def first_recovered_seqno(self) -> int | None:
        return None

    def knows_uncommitted_secret(self) -> bool:
        return self.rekeying

    def admission(self) -> Mapping[str, Any]:
        return ADMISSION


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
def opening() -> World:
    made = World(MEMBERS)
    made.activate()
    return made


@pytest.fixture
def opened(opening: World) -> World:
    opening.open()
    return opening


def request(name: str = "joiner", port: int = 9500, **changes: Any) -> dict[str, Any]:
    key = node_key(name)
    evidence = {
        "measurement": MEASUREMENT,
        "host_data": HOST_DATA,
        "report_data": b64encode(sha256(spki_der(key.public_key())).digest()).decode(),
    }
    evidence |= {field: str(changes.pop(field)) for field in list(evidence) if field in changes}
    body: dict[str, Any] = {
        "node_info_network": {
            "node_to_node_interface": {
                "bind_address": f"127.0.0.1:{port}",
                "published_address": f"127.0.0.1:{port}",
            },
            "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:1", "published_address": "127.0.0.1:1"}},
        },
        "quote_info": {
            "format": "Insecure_Virtual",
            "quote": b64encode(json.dumps(evidence).encode()).decode(),
            "endorsements": "",
        },
        "public_encryption_key": party("enc").encryption_pem,
        "certificate_signing_request": create_csr(key, "CN=joiner", ["iPAddress:127.0.0.1"]),
        "startup_seqno": None,
    }
    return body | changes


def _snp_quote(report: bytes, endorsements: bytes, uvm: bytes | None = None) -> dict[str, Any]:
    return Evidence("AMD_SEV_SNP_v1", report, endorsements, uvm, tcb_hex(TCB)).to_json()


def _network(**changes: object) -> dict[str, Any]:
    body = request()
    return body | {"node_info_network": body["node_info_network"] | changes}


def join(world: World, target: Target, body: object, name: str = "joiner") -> Response:
    """Ask, and commit what a 2xx answer wrote."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    certificate = self_signed_node_certificate(node_key(name), f"CN={name}", [], 9, NOW, 3)
    tx = world.store.begin()
    context = Context(tx, Request("POST", "/join", "/join", "", {}, raw), Identity("any_cert", "x", certificate), world)
    response = join_endpoint(target, world.ops)(context)
    if response.status == 200 and tx.writes:
        world.commit(tx)
    return response


def refused(world: World, target: Target, body: object) -> CcfError:
    before = world.snapshot()
    with pytest.raises(CcfError) as caught:
        join(world, target, body)
    assert world.snapshot() == before
    return caught.value


def node_id() -> str:
    return key_id(node_key("joiner").public_key())


def test_an_opening_service_trusts_at_once(opening: World, target: Target) -> None:
    answer = json.loads(join(opening, target, request()).body)
    assert (answer["node_status"], answer["node_id"]) == ("Trusted", node_id())
    network = answer["network_info"]
    assert network["service_status"] == "Opening"
    assert network["identity"] == ADMISSION["identity"]
    record = opening.read(NODES_INFO, node_id())
    assert (record["status"], record["ledger_secret_seqno"]) == ("Trusted", 1)
    certificate = load_certificate(network["endorsed_certificate"])
    assert is_issued_by(certificate, load_certificate(service_cert()))
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 2  # three days, less a second
    assert opening.raw(NODES_ENDORSED_CERTIFICATES, node_id()) == network["endorsed_certificate"].encode()


@pytest.mark.parametrize(("own", "asked"), [(100, 0), (100, 99)])
def test_a_snapshot_older_than_the_targets_own_is_refused(opened: World, target: Target, own: int, asked: int) -> None:
    target.startup_seqno = own
    error = refused(opened, target, request(startup_seqno=asked))
    assert (error.status, error.code) == (400, "StartupSeqnoIsOld")
    assert "at least as recent as 100" in error.message


@pytest.mark.parametrize(("own", "asked"), [(100, 100), (100, 101), (0, 0), (100, None)])
def test_a_snapshot_as_recent_as_the_targets_own_will_do(
    opened: World, target: Target, own: int, asked: int | None
) -> None:
    target.startup_seqno = own
    assert join(opened, target, request(startup_seqno=asked)).status == 200


@pytest.mark.parametrize("seqno", [-1, "100", True, 1.5])
def test_a_startup_seqno_is_a_seqno(opened: World, target: Target, seqno: object) -> None:
    error = refused(opened, target, request(startup_seqno=seqno))
    assert (error.status, error.code) == (400, "InvalidInput")


def test_an_open_service_records_it_pending_until_it_is_trusted(opened: World, target: Target) -> None:
    for _ in range(2):
        answer = json.loads(join(opened, target, request()).body)
        assert answer == {"node_status": "Pending", "node_id": node_id()}
        assert opened.read(NODES_INFO, node_id())["status"] == "Pending"
    trust = action("transition_node_to_trusted", node_id=node_id(), valid_from="2030-06-01 00:00:00")
    assert opened.accept(trust).body["proposalState"] == "Accepted"
    answer = json.loads(join(opened, target, request()).body)
    assert answer["node_status"] == "Trusted"
    assert answer["network_info"]["endorsed_certificate"].startswith("-----BEGIN CERTIFICATE-----")


def test_a_trusted_node_waits_while_a_rekey_may_still_be_rolled_back(opening: World, target: Target) -> None:
    join(opening, target, request())
    target.rekeying = True
    answer = json.loads(join(opening, target, request()).body)
    assert (answer["node_status"], "network_info" in answer) == ("Pending", False)
    target.rekeying = False
    assert json.loads(join(opening, target, request()).body)["node_status"] == "Trusted"


def test_any_node_answers_one_that_is_trusted_already(opening: World, target: Target) -> None:
    join(opening, target, request())
    target.is_primary = False
    assert json.loads(join(opening, target, request()).body)["node_status"] == "Trusted"


def test_a_backup_names_the_primary(opening: World, target: Target) -> None:
    target.is_primary = False
    answer = join(opening, target, request())
    assert (answer.status, answer.headers["location"]) == (308, "https://127.0.0.1:1/node/join")
    assert json.loads(answer.body)["error"]["code"] == "NodeCannotHandleRequest"
    target.primary = None
    assert refused(opening, target, request()).status == 500


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"measurement": "other"}, "Quote does not contain known enclave measurement"),
        ({"host_data": "cc" * 32}, "Quote host data is not authorised"),
        ({"report_data": "AAAA"}, "Quote could not be verified"),
        ({"report_data": b64encode(bytes(32)).decode()}, "Quote report data does not contain node's public key hash"),
    ],
)
@pytest.mark.parametrize("stage", ["opening", "opened"])
def test_evidence_that_is_refused(
    request_: pytest.FixtureRequest, target: Target, stage: str, changes: dict[str, Any], fragment: str
) -> None:
    error = refused(request_.getfixturevalue(stage), target, request(**changes))
    assert (error.status, error.code) == (401, "InvalidQuote")
    assert fragment in error.message


def test_an_snp_node_joins_a_service_that_trusts_it(
    opened: World, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each list of the members is needed, and the evidence is looked at in their order."""
    chip = Chip()
    monkeypatch.setattr(registry, "verify_report", partial(verify_report, root_keys=chip.root_keys()))
    monkeypatch.setattr(opened.ops, "now", lambda: SNP_NOW, raising=False)
    digest = sha256(spki_der(node_key("joiner").public_key())).digest()
    body = request() | {"quote_info": _snp_quote(chip.report({0x50: digest}), chip.endorsements())}
    steps = [
        ("host data is not authorised", action("add_snp_host_data", host_data=SNP_HOST_DATA.hex(), security_policy="")),
        ("known enclave measurement", action("add_snp_measurement", measurement=SNP_MEASUREMENT.hex())),
        ("invalid CPUID", action("set_snp_minimum_tcb_version_hex", cpuid="00a00f11", tcb_version=tcb_hex(TCB))),
    ]
    for fragment, remedy in steps:
        error = refused(opened, target, body)
        assert (error.status, error.code) == (401, "InvalidQuote")
        assert fragment in error.message
        opened.accept(remedy)
    bound_to_another = request() | {"quote_info": _snp_quote(chip.report(), chip.endorsements())}
    assert "report data does not contain" in refused(opened, target, bound_to_another).message
    assert join(opened, target, body).status == 200
    record = get_json(opened.store.begin(), NODES_INFO, node_id().encode())
    assert (record["status"], record["code_digest"]) == ("Pending", SNP_MEASUREMENT.hex())
    assert record["quote_info"]["format"] == "AMD_SEV_SNP_v1"


def test_an_endorsed_snp_node_needs_a_trusted_endorser(
    opened: World, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip, chain = Chip(), builder_chain(rsa_key("leaf"))
    monkeypatch.setattr(registry, "verify_report", partial(verify_report, root_keys=chip.root_keys()))
    monkeypatch.setattr(opened.ops, "now", lambda: SNP_NOW, raising=False)
    opened.accept(action("add_snp_host_data", host_data=SNP_HOST_DATA.hex(), security_policy=""))
    opened.accept(action("add_snp_measurement", measurement=SNP_MEASUREMENT.hex()))
    opened.accept(action("set_snp_minimum_tcb_version_hex", cpuid="00a00f11", tcb_version=tcb_hex(TCB)))
    payload = {"x-ms-sevsnpvm-launchmeasurement": SNP_MEASUREMENT.hex(), "x-ms-sevsnpvm-guestsvn": 8}
    digest = sha256(spki_der(node_key("joiner").public_key())).digest()
    quote = _snp_quote(chip.report({0x50: digest}), chip.endorsements(), endorse(rsa_key("leaf"), chain, payload))
    error = refused(opened, target, request() | {"quote_info": quote})
    assert "UVM endorsements are not authorised" in error.message
    opened.accept(action("add_snp_uvm_endorsement", did=did(chain), feed="Feed", svn="9"))
    assert "UVM endorsements are not authorised" in refused(opened, target, request() | {"quote_info": quote}).message
    opened.accept(action("add_snp_uvm_endorsement", did=did(chain), feed="Feed", svn="8"))
    assert join(opened, target, request() | {"quote_info": quote}).status == 200


@pytest.mark.parametrize("quote", [b"", b"{}", bytes(1183), bytes(1184)])
def test_a_report_that_does_not_verify(opened: World, target: Target, quote: bytes) -> None:
    error = refused(opened, target, request() | {"quote_info": _snp_quote(quote, b"")})
    assert (error.status, error.code) == (401, "InvalidQuote")
    assert "Quote could not be verified" in error.message


@pytest.mark.parametrize("quote", ["", "AAAA"])
def test_evidence_of_an_unknown_kind(opened: World, target: Target, quote: str) -> None:
    quote_info = {"format": "OE_SGX_v1", "quote": quote, "endorsements": ""}
    error = refused(opened, target, request() | {"quote_info": quote_info})
    assert (error.status, error.code, error.message) == (401, "InvalidQuote", "Quote could not be verified")


def test_an_interface_is_published_where_it_is_bound_unless_it_says_otherwise(opened: World, target: Target) -> None:
    bound = {"bind_address": "127.0.0.1:9999"}
    assert join(opened, target, _network(node_to_node_interface=bound, rpc_interfaces={"main": bound})).status == 200
    record = get_json(opened.store.begin(), NODES_INFO, node_id().encode())
    assert record["node_to_node_interface"]["published_address"] == "127.0.0.1:9999"
    assert record["rpc_interfaces"]["main"]["published_address"] == "127.0.0.1:9999"


@pytest.fixture
def request_(request: pytest.FixtureRequest) -> pytest.FixtureRequest:
    return request


def test_evidence_that_members_withdrew(opened: World, target: Target) -> None:
    opened.accept(action("remove_virtual_host_data", host_data=HOST_DATA))
    assert refused(opened, target, request()).code == "InvalidQuote"


def test_the_address_of_another_node(opening: World, target: Target) -> None:
    error = refused(opening, target, request(port=9000))
    assert (error.status, error.code) == (400, "NodeAlreadyExists")


def test_a_retired_node_cannot_come_back(opened: World, target: Target) -> None:
    join(opened, target, request())
    opened.accept(action("transition_node_to_trusted", node_id=node_id(), valid_from="2030-06-01 00:00:00"))
    opened.accept(action("remove_node", node_id=node_id()))
    error = refused(opened, target, request())
    assert (error.status, error.code) == (400, "InvalidNodeState")
    tx = opened.store.begin()
    put_json(tx, SERVICE_INFO, get_json(tx, SERVICE_INFO) | {"status": "Opening"})
    opened.commit(tx)
    assert refused(opened, target, request()).code == "InvalidNodeState"


def test_a_signing_request_of_another_key(opening: World, target: Target) -> None:
    other = create_csr(node_key("somebody"), "CN=joiner", [])
    error = refused(opening, target, request(certificate_signing_request=other))
    assert (error.status, error.code) == (400, "CSRPublicKeyInvalid")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        {},
        request() | {"quote_info": None},
        request() | {"quote_info": {"quote": "!"}},
        request() | {"quote_info": _snp_quote(b"", b"") | {"endorsed_tcb": 5}},
        request() | {"node_info_network": {}},
        request() | {"public_encryption_key": "no key"},
        _network(node_to_node_interface={}),
        _network(node_to_node_interface={"bind_address": "127.0.0.1:1", "published_address": 5}),
        _network(node_to_node_interface={"bind_address": "127.0.0.1:1", "published_address": "nowhere"}),
        _network(rpc_interfaces=[]),
        _network(rpc_interfaces={"main": {}}),
        _network(rpc_interfaces={"main": 5}),
        request() | {"certificate_signing_request": "nonsense"},
        {name: value for name, value in request().items() if name != "public_encryption_key"},
    ],
)
def test_malformed_requests(opening: World, target: Target, body: object) -> None:
    error = refused(opening, target, body)
    assert (error.status, error.code) == (400, "InvalidInput")
