"""The operations behind the native function, and the script that builds `ccf` on them."""

import re
from pathlib import Path

from dataplane.js.ccf import (
    certificates,
    console,
    conversions,
    crypto,
    historical,
    kv,
    natives,
    request,
    rpc,
    snp_attestation,
)
from dataplane.js.quickjs import Operation

_OPERATIONS: dict[str, Operation] = {
    "buf_to_json": conversions.buf_to_json,
    "buf_to_str": conversions.buf_to_str,
    "crypto": crypto.call_crypto,
    "digest": certificates.digest,
    "enable_metrics": conversions.enable_metrics,
    "is_valid_bundle": certificates.is_valid_bundle,
    "is_valid_chain": certificates.is_valid_chain,
    "kv_clear": kv.kv_clear,
    "kv_delete": kv.kv_delete,
    "kv_get": kv.kv_get,
    "kv_has": kv.kv_has,
    "kv_open": kv.kv_open,
    "kv_page": kv.kv_page,
    "kv_set": kv.kv_set,
    "kv_size": kv.kv_size,
    "kv_table": kv.kv_table,
    "kv_version": kv.kv_version,
    "log": console.log,
    "native": natives.call_native,
    "past_current": historical.past_current,
    "past_drop": historical.past_drop,
    "past_each": historical.past_each,
    "past_get": historical.past_get,
    "past_has": historical.past_has,
    "past_range": historical.past_range,
    "past_receipt": historical.past_receipt,
    "past_refuse": historical.past_refuse,
    "past_size": historical.past_size,
    "past_txid": historical.past_txid,
    "past_version": historical.past_version,
    "pem_to_id": certificates.pem_to_id,
    "random": console.random,
    "rare": natives.load_rare,
    "request_buffer": request.request_buffer,
    "request_caller": request.request_caller,
    "request_headers": request.request_headers,
    "request_json": request.request_json,
    "request_text": request.request_text,
    "set_apply_writes": rpc.set_apply_writes,
    "set_claims_digest": rpc.set_claims_digest,
    "str_to_buf": conversions.str_to_buf,
    "verify_snp": snp_attestation.verify_snp,
}

OPERATIONS: tuple[Operation, ...] = tuple(_OPERATIONS.values())
_INDEXES = {name: str(index) for index, name in enumerate(_OPERATIONS)}


def prelude_source(name: str = "prelude.js") -> bytes:
    """The prelude or its rarer half, operation names replaced by their indexes; an unknown name is a `KeyError`."""
    source = Path(__file__).with_name(name).read_text()
    return re.sub(r"\$([a-z_]+)", lambda match: _INDEXES[match[1]], source).encode()
