"""What `/node` endpoints take and answer, for their OpenAPI document (node-api.md 2.2, 10: "Schema test").

Names, shapes and `required` are those of the original's published document, so that a client generated from one works
with the other. `document` takes over the schemas that operations refer to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dataplane.apps.endpoint import Endpoint

INFO = {
    "title": "CCF Public Node API",
    "description": "State and membership of the nodes, for everybody and without credentials.",
    "version": "4.14.0",
}

Schema = Mapping[str, object]


def with_schemas(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The endpoints of the `/node` frontend, those with a published schema described."""
    return [
        replace(endpoint, openapi=_OPERATIONS.get((endpoint.method, endpoint.path), endpoint.openapi))
        for endpoint in endpoints
    ]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(optional: str = "", **properties: str) -> Schema:
    """An object by property and name of its schema; `optional` lists those that may be missing."""
    left_out = optional.split()
    required = [name for name in properties if name not in left_out]
    fields = {name: _ref(schema) for name, schema in properties.items()}
    return {"type": "object", "properties": fields, **({"required": required} if required else {})}


def _enum(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _array(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _map(name: str) -> Schema:
    return {"type": "object", "additionalProperties": _ref(name)}


def _whole(bits: int) -> Schema:
    return {"type": "integer", "minimum": 0, "maximum": (1 << bits) - 1}


_QUOTE = _object(
    "measurement uvm_endorsements",
    node_id="NodeId",
    raw="base64string",
    endorsements="base64string",
    format="QuoteFormat",
    measurement="string",
    uvm_endorsements="base64string",
)

SCHEMAS: Mapping[str, Schema] = {
    "Attestation": _QUOTE,
    "Attestation_array": _array("Attestation"),
    "Authority": _enum("Node", "Service", "ACME", "Unsecured"),
    "Configuration": _object(idx="uint64", nodes="NodeId_to_Configuration__NodeInfo", rid="uint64"),
    "Configuration__NodeInfo": _object(address="string"),
    "Configuration_array": _array("Configuration"),
    "ConsensusConfigDetails": _object(details="ConsensusDetails"),
    "ConsensusDetails": _object(
        "leadership_state learners reconfiguration_type retirement_phase",
        configs="Configuration_array",
        acks="NodeId_to_ConsensusDetails__Ack",
        membership_state="MembershipState",
        primary_id="NodeId",
        current_view="uint64",
        ticking="boolean",
        leadership_state="LeadershipState",
        learners="NodeId_to_uint64",
        reconfiguration_type="ReconfigurationType",
        retirement_phase="RetirementPhase",
    ),
    "ConsensusDetails__Ack": _object(seqno="uint64", last_received_ms="uint64"),
    "ConsensusNodeConfig": _object(address="string"),
    "ConsensusType": _enum("CFT", "BFT"),
    "Endorsement": _object(authority="Authority"),
    "GetAttestations__Out": _object(attestations="Attestation_array"),
    "GetCommit__Out": _object(
        "view_history", transaction_id="TransactionId", view_history="TransactionId_array"
    ),
    "GetNetworkInfo__Out": _object(
        service_status="ServiceStatus",
        service_certificate="Pem",
        current_view="uint64",
        primary_id="NodeId",
        recovery_count="uint64",
        service_data="json",
        current_service_create_txid="TransactionId",
    ),
    "GetNode__NodeInfo": _object(
        node_id="NodeId",
        status="NodeStatus",
        primary="boolean",
        rpc_interfaces="string_to_NodeInfoNetwork_v2__NetInterface",
        node_data="json",
        last_written="uint64",
    ),
    "GetNode__NodeInfo_array": _array("GetNode__NodeInfo"),
    "GetNodes__Out": _object(nodes="GetNode__NodeInfo_array"),
    "GetQuotes__Out": _object(quotes="Quote_array"),
    "GetServicePreviousIdentity__Out": _object(previous_service_identity="Pem"),
    "GetState__Out": _object(
        "last_recovered_seqno recovery_target_seqno",
        node_id="NodeId",
        state="ccf__NodeStartupState",
        last_signed_seqno="uint64",
        startup_seqno="uint64",
        stop_notice="boolean",
        last_recovered_seqno="uint64",
        recovery_target_seqno="uint64",
    ),
    "GetTxStatus__Out": _object(transaction_id="TransactionId", status="TxStatus"),
    "GetVersion__Out": _object(ccf_version="string", quickjs_version="string", unsafe="boolean"),
    "JWTRefreshMetrics": _object(attempts="uint64", successes="uint64", failures="uint64"),
    "JavaScriptMetrics": _object(
        bytecode_size="uint64",
        bytecode_used="boolean",
        max_heap_size="uint64",
        max_stack_size="uint64",
        max_execution_time="uint64",
        max_cached_interpreters="uint64",
    ),
    "LeadershipState": _enum("None", "Leader", "Follower", "PreVoteCandidate", "Candidate"),
    "MembershipState": _enum("Active", "Retired"),
    "MemoryUsage__Out": _object(
        max_total_heap_size="uint64", current_allocated_heap_size="uint64", peak_allocated_heap_size="uint64"
    ),
    "NodeId": {"type": "string", "format": "hex", "pattern": "^[a-f0-9]{64}$"},
    "NodeId_to_Configuration__NodeInfo": _map("Configuration__NodeInfo"),
    "NodeId_to_ConsensusDetails__Ack": _map("ConsensusDetails__Ack"),
    "NodeId_to_uint64": _map("uint64"),
    "NodeInfoNetwork_v2__NetInterface": _object(
        "accepted_endpoints app_protocol endorsement forwarding_timeout_ms http_configuration max_open_sessions_hard "
        "max_open_sessions_soft protocol published_address redirections",
        bind_address="string",
        accepted_endpoints="string_array",
        app_protocol="string",
        endorsement="Endorsement",
        forwarding_timeout_ms="uint64",
        http_configuration="ParserConfiguration",
        max_open_sessions_hard="uint64",
        max_open_sessions_soft="uint64",
        protocol="string",
        published_address="string",
        redirections="NodeInfoNetwork_v2__NetInterface__Redirections",
    ),
    "NodeInfoNetwork_v2__NetInterface__Redirections": _object(
        "to_primary to_backup", to_primary="RedirectionResolverConfig", to_backup="RedirectionResolverConfig"
    ),
    "NodeMetrics": _object(sessions="SessionMetrics"),
    "NodeStatus": _enum("Pending", "Trusted", "Retired"),
    "ParserConfiguration": _object(
        "initial_window_size max_body_size max_concurrent_streams_count max_frame_size max_header_size "
        "max_headers_count",
        initial_window_size="TimeString",
        max_body_size="TimeString",
        max_concurrent_streams_count="uint64",
        max_frame_size="TimeString",
        max_header_size="TimeString",
        max_headers_count="uint32",
    ),
    "Pem": {"type": "string"},
    "Quote": _QUOTE,
    "QuoteFormat": _enum("OE_SGX_v1", "Insecure_Virtual", "AMD_SEV_SNP_v1"),
    "Quote_array": _array("Quote"),
    "ReconfigurationType": _enum("OneTransaction", "TwoTransaction"),
    "RedirectionResolutionKind": _enum("NodeByRole", "StaticAddress"),
    "RedirectionResolverConfig": _object("target", kind="RedirectionResolutionKind", target="json"),
    "RetirementPhase": _enum("Ordered", "Signed", "Completed", "RetiredCommitted"),
    "SelfSignedNodeCertificateInfo": _object(self_signed_certificate="Pem"),
    "ServiceConfiguration": _object(
        "consensus maximum_node_certificate_validity_days maximum_service_certificate_validity_days "
        "recent_cose_proposals_window_size reconfiguration_type",
        recovery_threshold="uint64",
        consensus="ConsensusType",
        maximum_node_certificate_validity_days="uint64",
        maximum_service_certificate_validity_days="uint64",
        recent_cose_proposals_window_size="uint64",
        reconfiguration_type="ReconfigurationType",
    ),
    "ServiceStatus": _enum("Opening", "Open", "WaitingForRecoveryShares", "Recovering"),
    "SessionMetrics": _object(
        active="uint64", peak="uint64", interfaces="string_to_SessionMetrics__PerInterface"
    ),
    "SessionMetrics__Errors": _object(
        parsing="uint64", request_payload_too_large="uint64", request_header_too_large="uint64"
    ),
    "SessionMetrics__PerInterface": _object(
        active="uint64", peak="uint64", soft_cap="uint64", hard_cap="uint64", errors="SessionMetrics__Errors"
    ),
    "TimeString": {"type": "string", "pattern": "^[0-9]+(B|KB|MB|GB|TB|PB)?$"},
    "TransactionId": {"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"},
    "TransactionId_array": _array("TransactionId"),
    "TxStatus": _enum("Unknown", "Pending", "Committed", "Invalid"),
    "base64string": {"type": "string", "format": "base64"},
    "boolean": {"type": "boolean"},
    "ccf__NodeStartupState": _enum(
        "Uninitialized", "Initialized", "Pending", "PartOfPublicNetwork", "PartOfNetwork", "ReadingPublicLedger",
        "ReadingPrivateLedger",
    ),
    "json": {},
    "string": {"type": "string"},
    "string_array": _array("string"),
    "string_to_ConsensusNodeConfig": _map("ConsensusNodeConfig"),
    "string_to_NodeInfoNetwork_v2__NetInterface": _map("NodeInfoNetwork_v2__NetInterface"),
    "string_to_SessionMetrics__PerInterface": _map("SessionMetrics__PerInterface"),
    "uint32": _whole(32),
    "uint64": _whole(64),
}  # fmt: skip


def _operation(
    answer: str | None = None, query: Mapping[str, str] | None = None, *, status: int = 200, required: bool = False
) -> Mapping[str, object]:
    """An operation's success by name of its schema, and its query parameters by name of theirs."""
    success: dict[str, object] = {"description": "Success"}
    if answer is not None:
        success["content"] = {"application/json": {"schema": _ref(answer)}}
    parameters = [
        {"in": "query", "name": name, "required": required, "schema": _ref(schema)}
        for name, schema in (query or {}).items()
    ]
    return {"responses": {str(status): success}, **({"parameters": parameters} if parameters else {})}


_OPERATIONS: Mapping[tuple[str, str], Mapping[str, object]] = {
    ("GET", "/api"): {"summary": "This document", **_operation("json")},
    ("GET", "/attestations"): _operation("GetAttestations__Out"),
    ("GET", "/attestations/self"): _operation("Attestation"),
    ("GET", "/backup"): _operation(),
    ("GET", "/commit"): {
        "summary": "The last committed transaction",
        **_operation("GetCommit__Out", {"view_history": "boolean", "view_history_since": "uint64"}),
    },
    ("GET", "/config"): _operation("string_to_ConsensusNodeConfig"),
    ("GET", "/consensus"): _operation("ConsensusConfigDetails"),
    ("GET", "/index/strategies"): _operation("json"),
    ("GET", "/js_metrics"): _operation("JavaScriptMetrics"),
    ("GET", "/jwt_keys/refresh/metrics"): _operation("JWTRefreshMetrics"),
    ("GET", "/memory"): _operation("MemoryUsage__Out"),
    ("GET", "/metrics"): _operation("NodeMetrics"),
    ("GET", "/network"): _operation("GetNetworkInfo__Out"),
    ("GET", "/network/nodes"): _operation("GetNodes__Out", {"host": "string", "port": "string", "status": "string"}),
    ("GET", "/network/nodes/primary"): _operation("GetNode__NodeInfo"),
    ("GET", "/network/nodes/self"): _operation("GetNode__NodeInfo"),
    ("GET", "/network/nodes/{node_id}"): _operation("GetNode__NodeInfo"),
    ("DELETE", "/network/nodes/{node_id}"): _operation("boolean"),
    ("GET", "/network/removable_nodes"): _operation("GetNodes__Out"),
    ("GET", "/primary"): _operation(),
    ("HEAD", "/primary"): _operation(),
    ("GET", "/quotes"): _operation("GetQuotes__Out"),
    ("GET", "/quotes/self"): _operation("Quote"),
    ("GET", "/ready/app"): _operation(status=204),
    ("GET", "/ready/gov"): _operation(status=204),
    ("GET", "/receipt"): {
        "summary": "What proves a transaction to anybody who trusts the service",
        **_operation("json", {"transaction_id": "TransactionId"}, required=True),
    },
    ("GET", "/self_signed_certificate"): _operation("SelfSignedNodeCertificateInfo"),
    ("GET", "/service/configuration"): _operation("ServiceConfiguration"),
    ("GET", "/service/previous_identity"): _operation("GetServicePreviousIdentity__Out"),
    ("GET", "/state"): _operation("GetState__Out"),
    ("GET", "/tx"): {
        "summary": "What became of a transaction",
        **_operation("GetTxStatus__Out", {"transaction_id": "TransactionId"}, required=True),
    },
    ("GET", "/version"): _operation("GetVersion__Out"),
}
