"""The governance tables as they stand: `GET /gov/kv/<table>`, in the classic dialect (node-api.md 2.4).

The path is the table's name without `public:ccf.gov.`, with slashes for dots. Maps are answered as JSON objects, single
values as themselves, sets as arrays of their keys. Bytes that are neither JSON nor text are base64.
"""

from base64 import b64encode
from enum import Enum
from functools import partial

from dataplane.apps.endpoint import Context, Endpoint, Response, json_response
from dataplane.kv.tables import GOV, UNIT_KEY, load_json


class Form(Enum):
    """How the values of a table are written; a set has none."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"
    SET = "set"


_MAPS = {
    "cose_history": Form.JSON,
    "cose_recent_proposals": Form.JSON,
    "endpoints": Form.JSON,
    "history": Form.JSON,
    "jwt.issuers": Form.JSON,
    "jwt.public_signing_key": Form.BYTES,
    "jwt.public_signing_key_issuer": Form.TEXT,
    "jwt.public_signing_keys_metadata": Form.JSON,
    "jwt.public_signing_keys_metadata_v2": Form.JSON,
    "members.acks": Form.JSON,
    "members.certs": Form.TEXT,
    "members.encryption_public_keys": Form.TEXT,
    "members.info": Form.JSON,
    "modules": Form.TEXT,
    "modules_quickjs_bytecode": Form.BYTES,
    "nodes.code_ids": Form.JSON,
    "nodes.endorsed_certificates": Form.TEXT,
    "nodes.info": Form.JSON,
    "nodes.snp.host_data": Form.JSON,
    "nodes.snp.measurements": Form.JSON,
    "nodes.snp.tcb_versions": Form.JSON,
    "nodes.snp.uvm_endorsements": Form.JSON,
    "nodes.virtual.host_data": Form.SET,
    "nodes.virtual.measurements": Form.JSON,
    "proposals": Form.BYTES,
    "proposals_info": Form.JSON,
    "tls.ca_cert_bundles": Form.JSON,
    "users.certs": Form.TEXT,
    "users.info": Form.JSON,
}
_SINGLE_VALUES = {
    "constitution": Form.JSON,
    "interpreter.flush": Form.JSON,
    "js_runtime_options": Form.JSON,
    "modules_quickjs_version": Form.TEXT,
    "service.config": Form.JSON,
    "service.info": Form.JSON,
    "service.previous_service_identity": Form.JSON,
}


def table_endpoints() -> list[Endpoint]:
    """One endpoint for each governance table (node-api.md 4.1), open to anybody."""
    maps = {name: partial(_map, f"{GOV}{name}", form) for name, form in _MAPS.items()}
    single = {name: partial(_single, f"{GOV}{name}", form) for name, form in _SINGLE_VALUES.items()}
    return [Endpoint("GET", f"/kv/{name.replace('.', '/')}", run) for name, run in (maps | single).items()]


def _map(table: str, form: Form, context: Context) -> Response:
    rows = context.tx.items(table)
    if form is Form.SET:
        return json_response([_text(key) for key, _ in rows])
    return json_response({_text(key): _value(form, value) for key, value in rows})


def _single(table: str, form: Form, context: Context) -> Response:
    value = context.tx.get(table, UNIT_KEY)
    return Response(204) if value is None else json_response(_value(form, value))


def _value(form: Form, value: bytes) -> object:
    if form is Form.JSON:
        return load_json(value)
    return b64encode(value).decode() if form is Form.BYTES else _text(value)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
