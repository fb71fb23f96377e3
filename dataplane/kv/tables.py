"""The built-in tables: names, and how their keys and values are written (ledger-format.md 1.6, node-api.md 4.1).

Single-value tables use the key of eight zero bytes. Values are JSON unless the contract says raw.
"""

import json
from typing import Any

from dataplane.kv.tx import Tx

UNIT_KEY = bytes(8)
"""The key of a single-value table."""
SET_VALUE = bytes(8)
"""The value of every key of a set."""

GOV = "public:ccf.gov."
INTERNAL = "public:ccf.internal."

CONSTITUTION = f"{GOV}constitution"
COSE_HISTORY = f"{GOV}cose_history"
COSE_RECENT_PROPOSALS = f"{GOV}cose_recent_proposals"
ENDPOINTS = f"{GOV}endpoints"
INTERPRETER_FLUSH = f"{GOV}interpreter.flush"
JS_RUNTIME_OPTIONS = f"{GOV}js_runtime_options"
JWT_ISSUERS = f"{GOV}jwt.issuers"
JWT_PUBLIC_SIGNING_KEYS = f"{GOV}jwt.public_signing_keys_metadata_v2"
MEMBERS_ACKS = f"{GOV}members.acks"
MEMBERS_CERTS = f"{GOV}members.certs"
MEMBERS_ENCRYPTION_PUBLIC_KEYS = f"{GOV}members.encryption_public_keys"
MEMBERS_INFO = f"{GOV}members.info"
MODULES = f"{GOV}modules"
MODULES_QUICKJS_BYTECODE = f"{GOV}modules_quickjs_bytecode"
MODULES_QUICKJS_VERSION = f"{GOV}modules_quickjs_version"
NODES_ENDORSED_CERTIFICATES = f"{GOV}nodes.endorsed_certificates"
NODES_INFO = f"{GOV}nodes.info"
NODES_SNP_HOST_DATA = f"{GOV}nodes.snp.host_data"
NODES_SNP_MEASUREMENTS = f"{GOV}nodes.snp.measurements"
NODES_SNP_TCB_VERSIONS = f"{GOV}nodes.snp.tcb_versions"
NODES_SNP_UVM_ENDORSEMENTS = f"{GOV}nodes.snp.uvm_endorsements"
NODES_VIRTUAL_HOST_DATA = f"{GOV}nodes.virtual.host_data"
NODES_VIRTUAL_MEASUREMENTS = f"{GOV}nodes.virtual.measurements"
PROPOSALS = f"{GOV}proposals"
PROPOSALS_INFO = f"{GOV}proposals_info"
SERVICE_CONFIG = f"{GOV}service.config"
SERVICE_INFO = f"{GOV}service.info"
SERVICE_PREVIOUS_SERVICE_IDENTITY = f"{GOV}service.previous_service_identity"
TLS_CA_CERT_BUNDLES = f"{GOV}tls.ca_cert_bundles"
USERS_CERTS = f"{GOV}users.certs"
USERS_INFO = f"{GOV}users.info"

COSE_SIGNATURES = f"{INTERNAL}cose_signatures"
ENCRYPTED_LEDGER_SECRETS = f"{INTERNAL}encrypted_ledger_secrets"
ENCRYPTED_SUBMITTED_SHARES = f"{INTERNAL}encrypted_submitted_shares"
HISTORICAL_ENCRYPTED_LEDGER_SECRET = f"{INTERNAL}historical_encrypted_ledger_secret"
LAST_RECOVERY_TYPE = f"{INTERNAL}last_recovery_type"
PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT = f"{INTERNAL}previous_service_identity_endorsement"
PREVIOUS_SERVICE_LAST_SIGNED_ROOT = f"{INTERNAL}previous_service_last_signed_root"
RECOVERY_SHARES = f"{INTERNAL}recovery_shares"
SIGNATURES = f"{INTERNAL}signatures"
SNAPSHOT_EVIDENCE = f"{INTERNAL}snapshot_evidence"
TREE = f"{INTERNAL}tree"

SIGNATURE_TABLES = frozenset({SIGNATURES, COSE_SIGNATURES, TREE})
"""A signature transaction writes these and nothing else (ledger-format.md 2.8)."""


def dump_json(value: object) -> bytes:
    """JSON as the original writes it: keys sorted, no white space, UTF-8 (ledger-format.md 0.2).

    Half a surrogate pair, which JSON escapes can spell and UTF-8 cannot, is replaced (node-api.md 1.1).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def load_json(data: bytes) -> Any:
    """Parse a JSON value of a table or a request; raises `ValueError`, also for one that nests too deep to be read."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("the JSON value nests too deep") from None


def get_json(tx: Tx, table: str, key: bytes = UNIT_KEY) -> Any:
    """The JSON value at `key`, or None where there is none."""
    data = tx.get(table, key)
    return None if data is None else json.loads(data)


def put_json(tx: Tx, table: str, value: object, key: bytes = UNIT_KEY) -> None:
    """Write `value` as JSON at `key`."""
    tx.put(table, key, dump_json(value))
