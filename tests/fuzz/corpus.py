"""What mutants are made from: good examples of everything, with the keys and secrets that belong to them.

They lie in `corpus.json`, so that the same seed gives the same mutants everywhere; keys in it were made for this.

    python -m tests.fuzz.corpus        makes them anew
"""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from dataplane.attestation.platform import Evidence
from dataplane.attestation.snp_tcb import tcb_hex
from dataplane.crypto.certs import (
    create_csr,
    endorse_node_csr,
    load_certificate,
    self_signed_client_certificate,
    self_signed_node_certificate,
    self_signed_service_certificate,
)
from dataplane.crypto.cose import sign1
from dataplane.crypto.keys import public_pem, spki_der
from dataplane.kv.writeset import encode_maps
from tests.simulation.replica_machine import SECRET as SNAPSHOT_SECRET
from tests.support.governance import HOST_DATA, action, party
from tests.support.governance import MEASUREMENT as VIRTUAL_MEASUREMENT
from tests.support.service_ledger import SECRET, filled_ledger
from tests.support.snapshots import SERVICE_CERT, snapshot_files
from tests.support.snp import MEASUREMENT, TCB, Chip, builder_chain, der, did, elliptic_key, endorse, rsa_key
from tests.support.tokens import Issuer, elliptic_issuer

_FILE = Path(__file__).parent / "corpus.json"
_NOW = datetime(2030, 6, 1, tzinfo=UTC)


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_FILE.read_text())
    return document


@cache
def examples(name: str) -> list[bytes]:
    """The good examples of one kind."""
    return [b64decode(text) for text in _document()["examples"][name]]


@cache
def facts(name: str) -> Any:
    """A JSON value that goes with the examples: a certificate, keys, documents."""
    return _document()["facts"][name]


@cache
def secret(name: str) -> bytes:
    """A ledger secret that goes with the examples."""
    return b64decode(_document()["secrets"][name])


def make() -> dict[str, Any]:
    """The corpus, made anew."""
    parts = [_envelopes(), _certificates(), _tokens(), _ledger(), _snapshots(), _governance(), _snp()]
    examples = {name: [b64encode(data).decode() for data in made] for part in parts for name, made in part[0].items()}
    secrets = {"ledger": SECRET, "snapshot": SNAPSHOT_SECRET}
    return {
        "examples": examples,
        "facts": {name: value for part in parts for name, value in part[1].items()},
        "secrets": {name: b64encode(key).decode() for name, key in secrets.items()},
    }


Part = tuple[dict[str, list[bytes]], dict[str, Any]]


def _envelopes() -> Part:
    key = ec.generate_private_key(ec.SECP384R1())
    headers: list[tuple[int | str, object]] = [
        (1, -35), (4, b"ab" * 32), ("ccf.gov.msg.type", "proposal"), ("ccf.gov.msg.created_at", 1_900_000_000),
    ]  # fmt: skip
    made = [
        sign1(key, headers, b'{"actions":[]}'),
        sign1(key, headers, b"", detached=True),
        sign1(key, [(1, -35)], bytes(100)),
    ]
    return {"envelopes": made}, {"envelope key": public_pem(key.public_key())}


def _certificates() -> Part:
    key = ec.generate_private_key(ec.SECP384R1())
    service = self_signed_service_certificate(key, "CN=CCF Service,O=Acme", 7, _NOW, 90)
    csr = create_csr(key, "CN=CCF Node", ["iPAddress:127.0.0.1", "dNSName:localhost"])
    node = endorse_node_csr(key, service, csr, 9, _NOW, 30)
    user = self_signed_client_certificate(key, "CN=user", 3, _NOW, 30)
    ders = [load_certificate(text).public_bytes(Encoding.DER) for text in (service, node, user)]
    return {
        "certificates": [*ders, service.encode(), node.encode()],
        "requests": [csr.encode()],
    }, {"endorsing certificate": service}


def _tokens() -> Part:
    issuers = Issuer(), elliptic_issuer()
    tokens = [issuer.token(now=_NOW, tid="t", sub="alice").encode() for issuer in issuers]
    key_sets = [{"keys": [issuer.jwk("a", issuer=issuer.name), issuer.jwk("b", form="x5c")]} for issuer in issuers]
    return {"tokens": tokens}, {"token keys": [issuer.public_pem for issuer in issuers], "key sets": key_sets}


def _ledger() -> Part:
    ledger = filled_ledger(6, signature_every=3)
    with TemporaryDirectory() as temporary:
        (path,) = ledger.write_to(Path(temporary), commit=False).iterdir()
        chunk = path.read_bytes()
    tree = ledger.tree
    return {
        "frames": [entry.frame for entry in ledger.entries],
        "write sets": [encode_maps(entry.writes) for entry in ledger.decoded()],
        "trees": [tree.serialise(first, tree.size - 1) for first in (0, 1, 5, 8, tree.size - 1)],
        "chunks": [chunk],
    }, {"receipts": [ledger.receipt(seqno) for seqno in (5, 6, 7)], "ledger certificate": ledger.service_cert}


def _snapshots() -> Part:
    made = snapshot_files()
    return {
        "snapshots": [made.with_json, made.with_cose, made.frame],
        "COSE receipts": [made.with_cose[len(made.frame) :]],
    }, {"snapshot certificate": SERVICE_CERT, "snapshot evidence": str(made.evidence)}


def _snp() -> Part:
    chip, chain = Chip(), builder_chain(rsa_key("leaf"))
    elliptic = builder_chain(elliptic_key("leaf"))
    payload = {"x-ms-sevsnpvm-launchmeasurement": MEASUREMENT.hex(), "x-ms-sevsnpvm-guestsvn": "8"}
    endorsed = [endorse(rsa_key("leaf"), chain, payload), endorse(elliptic_key("leaf"), elliptic, payload)]
    return {
        "SNP reports": [chip.report()],
        "SNP endorsements": [chip.endorsements()],
        "UVM endorsements": endorsed,
        "certificate chains": [chain[0], *der(chip.chain())],
    }, {"SNP root keys": chip.root_keys(), "UVM issuers": [did(chain), did(elliptic)]}


_ENDPOINT = {
    "js_module": "a.js",
    "js_function": "f",
    "mode": "readonly",
    "forwarding_required": "sometimes",
    "redirection_strategy": "to_primary",
    "authn_policies": ["user_cert", {"all_of": ["jwt", "any_cert"]}],
    "interpreter_reuse": {"key": "k"},
    "openapi": {"summary": "s"},
    "openapi_hidden": False,
}
_BUNDLE = {
    "metadata": {"endpoints": {"/log/{id}": {"get": _ENDPOINT, "post": {**_ENDPOINT, "mode": "readwrite"}}}},
    "modules": [
        {"name": "a.js", "module": "export function f() {}"},
        {"name": "b/c.js", "module": "export default 1;"},
    ],
}


def _governance() -> Part:
    cert = party("bob").cert_pem
    since = "2030-06-01 00:00:00"
    actions = [
        action("set_user", cert=cert, user_data={"a": [1]}),
        action("set_member", cert=cert, encryption_pub_key=party("bob").encryption_pem, member_data={}),
        action("set_js_app", bundle=_BUNDLE, disable_bytecode_cache=True),
        action("set_recovery_threshold", recovery_threshold=1),
        action("transition_node_to_trusted", node_id="ab" * 32, valid_from=since, validity_period_days=3),
        action("set_service_certificate_validity", valid_from="300601000000Z", validity_period_days=3),
        action("set_constitution", constitution="export function validate(a) {}"),
        action("set_js_runtime_options", max_heap_bytes=1 << 20, max_stack_bytes=1 << 20, max_execution_time_ms=9),
        action("remove_member", member_id="ab" * 32),
        action("remove_user", user_id="ab" * 32),
    ]
    proposals = [{"actions": [one]} for one in actions]
    return {}, {"proposals": proposals, "bundles": [_BUNDLE], **_join()}


def _join() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP384R1())
    report_data = sha256(spki_der(key.public_key())).digest()
    evidence = {
        "measurement": VIRTUAL_MEASUREMENT, "host_data": HOST_DATA, "report_data": b64encode(report_data).decode(),
    }  # fmt: skip
    interface = {"bind_address": "127.0.0.1:9500", "published_address": "127.0.0.1:9500"}
    chip = Chip()
    snp = Evidence("AMD_SEV_SNP_v1", chip.report({0x50: report_data}), chip.endorsements(), b"\xd2\x84", tcb_hex(TCB))
    request = {
        "node_info_network": {
            "node_to_node_interface": interface,
            "rpc_interfaces": {"main": {**interface, "endorsement": {"authority": "Service"}}},
        },
        "quote_info": {
            "format": "Insecure_Virtual",
            "quote": b64encode(json.dumps(evidence).encode()).decode(),
            "endorsements": "",
        },
        "public_encryption_key": party("enc").encryption_pem,
        "certificate_signing_request": create_csr(key, "CN=joiner", ["iPAddress:127.0.0.1"]),
        "startup_seqno": None,
        "node_data": {"a": 1},
    }
    certificate = self_signed_node_certificate(key, "CN=joiner", [], 9, _NOW, 3)
    return {"joins": [request, {**request, "quote_info": snp.to_json()}], "joiner": certificate}


if __name__ == "__main__":
    _FILE.write_text(json.dumps(make(), indent=0) + "\n")
