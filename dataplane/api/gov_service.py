"""Reads of a service's governance state: service, members, users, nodes, application (node-api.md 2.3)."""

import base64
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from dataplane.api.gov_request import ApiVersion, check_version, hex_id, versioned
from dataplane.apps.endpoint import Context, Endpoint, Response, json_response, query_values, text_response
from dataplane.errors import InvalidQueryParameterValue, ResourceNotFound
from dataplane.governance.members import Member, all_members, find_member
from dataplane.governance.nodes import ALLOWED_TO_JOIN, all_nodes, endorsed_certificate, find_node
from dataplane.governance.replay import DEFAULT_WINDOW_SIZE
from dataplane.kv.tables import (
    CONSTITUTION,
    ENDPOINTS,
    GOV,
    MODULES,
    NODES_SNP_HOST_DATA,
    NODES_SNP_MEASUREMENTS,
    NODES_SNP_TCB_VERSIONS,
    NODES_SNP_UVM_ENDORSEMENTS,
    NODES_VIRTUAL_HOST_DATA,
    NODES_VIRTUAL_MEASUREMENTS,
    SERVICE_CONFIG,
    SERVICE_INFO,
    USERS_CERTS,
    USERS_INFO,
    get_json,
    load_json,
)
from dataplane.kv.tx import Tx
from dataplane.txid import InvalidTxID, NodeId, TxID, TxStatus, UserId

_NODES_CODE_IDS = f"{GOV}nodes.code_ids"
_DEFAULT_VALIDITY_DAYS = 365
_VIRTUAL = "Insecure_Virtual"
_SGX = "OE_SGX_v1"


def service_endpoints() -> list[Endpoint]:
    """Everything below `/gov/service`; all open to anybody."""
    both = {
        "/service/constitution": _constitution,
        "/service/info": _info,
        "/service/javascript-app": _javascript_app,
        "/service/join-policy": _join_policy,
        "/service/members": _members,
        "/service/members/{memberId}": _one_member,
        "/service/users": _users,
        "/service/users/{userId}": _one_user,
        "/service/nodes": _nodes,
        "/service/nodes/{nodeId}": _one_node,
        "/service/transactions/commit": _commit,
        "/service/transactions/{transactionId}": _transaction,
    }
    newer: dict[str, Callable[[Context], Response]] = {}
    for name in ("javascript-modules", "js-modules"):  # the code and the published schema disagree on the name
        newer[f"/service/{name}"] = _modules
        newer[f"/service/{name}/{{moduleName}}"] = _one_module
    return [
        *(versioned("GET", path, run) for path, run in both.items()),
        *(versioned("GET", path, run, (ApiVersion.V1,)) for path, run in newer.items()),
    ]


def _constitution(context: Context) -> Response:
    text = get_json(context.tx, CONSTITUTION)
    if text is None:
        raise ResourceNotFound("Constitution not found.")
    return text_response(text, "text/javascript")


def _info(context: Context) -> Response:
    info = get_json(context.tx, SERVICE_INFO)
    if info is None:
        raise ResourceNotFound("Service information not available.")
    body: dict[str, object] = {
        "status": info["status"],
        "certificate": info["cert"],
        "recoveryCount": info.get("recovery_count", 0),
        "serviceData": info.get("service_data"),
        "configuration": _configuration(get_json(context.tx, SERVICE_CONFIG) or {}),
    }
    if "current_service_create_txid" in info:
        body["creationTransactionId"] = info["current_service_create_txid"]
    previous = info.get("previous_service_identity_version")
    if previous is not None:
        body["previousServiceCreationTransactionId"] = str(TxID(context.node.view_of(previous) or 0, previous))
    return json_response(body)


def _configuration(config: Mapping[str, Any]) -> dict[str, object]:
    return {
        "recoveryThreshold": config.get("recovery_threshold", 0),
        "maximumNodeCertificateValidityDays": config.get(
            "maximum_node_certificate_validity_days", _DEFAULT_VALIDITY_DAYS
        ),
        "maximumServiceCertificateValidityDays": config.get(
            "maximum_service_certificate_validity_days", _DEFAULT_VALIDITY_DAYS
        ),
        "recentCoseProposalsWindowSize": config.get("recent_cose_proposals_window_size", DEFAULT_WINDOW_SIZE),
    }


def _javascript_app(context: Context) -> Response:
    case = query_values(context.request.query).get("case")
    allowed = (None, "original") if check_version(context) is ApiVersion.V1 else (None,)
    if case not in allowed:
        raise InvalidQueryParameterValue(f"Invalid value for case: {case!r}; the only one there is: original (v1).")
    found: dict[str, dict[str, object]] = {}
    for key, value in context.tx.items(ENDPOINTS):
        verb, _, path = key.decode().partition(" ")
        stored = load_json(value)
        found.setdefault(path, {})[verb] = stored if case == "original" else _endpoint(stored)
    return json_response({"endpoints": found})


def _endpoint(stored: Mapping[str, Any]) -> dict[str, object]:
    return {
        "jsModule": stored["js_module"],
        "jsFunction": stored["js_function"],
        "forwardingRequired": stored["forwarding_required"],
        "redirectionStrategy": stored.get("redirection_strategy") or "to_primary",
        "authnPolicies": stored["authn_policies"],
        "mode": stored["mode"],
        "openApi": stored.get("openapi") or {},
    }


def _modules(context: Context) -> Response:
    return json_response({"value": [{"moduleName": key.decode()} for key, _ in context.tx.items(MODULES)]})


def _one_module(context: Context) -> Response:
    name = unquote(context.request.params["moduleName"])
    source = context.tx.get(MODULES, name.encode()) or context.tx.get(MODULES, f"/{name}".encode())
    if source is None:
        raise ResourceNotFound(f"Module {name} not found.")
    return Response(200, source, {"content-type": "text/javascript"})


def _join_policy(context: Context) -> Response:
    tx = context.tx
    return json_response(
        {
            "sgx": {"measurements": _allowed(tx, _NODES_CODE_IDS)},
            "virtual": {
                "measurements": _allowed(tx, NODES_VIRTUAL_MEASUREMENTS),
                "hostData": _keys(tx, NODES_VIRTUAL_HOST_DATA),
            },
            "snp": {
                "measurements": _allowed(tx, NODES_SNP_MEASUREMENTS),
                "hostData": _values(tx, NODES_SNP_HOST_DATA),
                "uvmEndorsements": _values(tx, NODES_SNP_UVM_ENDORSEMENTS),
                "tcbVersions": _values(tx, NODES_SNP_TCB_VERSIONS),
            },
        }
    )


def _allowed(tx: Tx, table: str) -> list[str]:
    return [key.decode() for key, value in tx.items(table) if load_json(value) == ALLOWED_TO_JOIN]


def _keys(tx: Tx, table: str) -> list[str]:
    return [key.decode() for key, _ in tx.items(table)]


def _values(tx: Tx, table: str) -> dict[str, object]:
    return {key.decode(): load_json(value) for key, value in tx.items(table)}


def _members(context: Context) -> Response:
    return json_response({"value": [_member(member) for member in all_members(context.tx)]})


def _one_member(context: Context) -> Response:
    member_id = hex_id(context, "memberId")
    member = find_member(context.tx, member_id)
    if member is None:
        raise ResourceNotFound(f"Member {member_id} not found.")
    return json_response(_member(member))


def _member(member: Member) -> dict[str, object]:
    body: dict[str, object] = {
        "memberId": member.id,
        "status": member.status,
        "memberData": member.data,
        "certificate": member.cert_pem,
        "recoveryRole": member.recovery_role,
    }
    if member.encryption_key_pem is not None:
        body["publicEncryptionKey"] = member.encryption_key_pem
    return body


def _users(context: Context) -> Response:
    users = [_user(context.tx, key.decode(), value) for key, value in context.tx.items(USERS_CERTS)]
    return json_response({"value": users})


def _one_user(context: Context) -> Response:
    user_id = hex_id(context, "userId")
    cert = context.tx.get(USERS_CERTS, user_id.encode())
    if cert is None:
        raise ResourceNotFound(f"User {user_id} not found.")
    return json_response(_user(context.tx, user_id, cert))


def _user(tx: Tx, user_id: UserId, cert: bytes) -> dict[str, object]:
    return {
        "userId": user_id,
        "certificate": cert.decode(),
        "userData": get_json(tx, USERS_INFO, user_id.encode()),
    }


def _nodes(context: Context) -> Response:
    return json_response({"value": [_node(context.tx, node_id, record) for node_id, record in all_nodes(context.tx)]})


def _one_node(context: Context) -> Response:
    node_id = hex_id(context, "nodeId")
    record = find_node(context.tx, node_id)
    if record is None:
        raise ResourceNotFound(f"Node {node_id} not found.")
    return json_response(_node(context.tx, node_id, record))


def _node(tx: Tx, node_id: NodeId, record: Mapping[str, Any]) -> dict[str, object]:
    body: dict[str, object] = {
        "nodeId": node_id,
        "status": record["status"],
        "nodeData": record.get("node_data"),
        "retiredCommitted": record.get("retired_committed", False),
        "quoteInfo": _quote_info(record["quote_info"]),
        "rpcInterfaces": {name: _interface(value) for name, value in record["rpc_interfaces"].items()},
    }
    certificate = endorsed_certificate(tx, node_id)
    if certificate is not None:
        body["certificate"] = certificate
    return body


def _quote_info(quote: Mapping[str, Any]) -> dict[str, object]:
    """Evidence by its format; that of SEV-SNP shows what endorses it, not the report."""
    body: dict[str, object] = {"format": quote["format"]}
    if quote["format"] == _VIRTUAL:
        evidence = load_json(base64.b64decode(quote["quote"]))
        details = {"measurement": "measurement", "reportData": "report_data", "hostData": "host_data"}
        body["rawQuote"] = quote["quote"]
        body["details"] = {name: evidence[stored] for name, stored in details.items()}
    elif quote["format"] == _SGX:
        body |= {"quote": quote["quote"], "endorsements": quote["endorsements"]}
    else:
        if "uvm_endorsements" in quote:
            body["uvmEndorsements"] = quote["uvm_endorsements"]
        if "endorsed_tcb" in quote:
            body["endorsedTcb"] = base64.b64encode(bytes.fromhex(quote["endorsed_tcb"])).decode()
    return body


def _interface(interface: Mapping[str, Any]) -> dict[str, object]:
    """`protocol` is what the interface speaks above TLS, `HTTP1` or `HTTP2`."""
    body = {"publishedAddress": interface["published_address"]}
    if "app_protocol" in interface:
        body["protocol"] = interface["app_protocol"]
    return body


def _commit(context: Context) -> Response:
    committed = context.node.commit_txid()
    return json_response({"status": TxStatus.COMMITTED, "transactionId": str(committed)})


def _transaction(context: Context) -> Response:
    text = context.request.params["transactionId"]
    try:
        txid = TxID.parse(text)
    except InvalidTxID as error:
        raise InvalidQueryParameterValue(f"The transaction id is malformed: {error}.") from error
    return json_response({"status": context.node.status(txid), "transactionId": str(txid)})
