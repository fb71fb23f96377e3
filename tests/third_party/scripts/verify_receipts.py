"""Verdicts of the public `ccf` package on receipts. Runs in its environment, knows nothing of ours.

Standard input holds one JSON object a line; standard output gets one line each: `accepted`, or `refused` and why.
`{"receipt", "service_cert", "chain"}` is a JSON receipt; with `chain`, certificate profiles and validity are checked as
well. `{"cose", "key", "claims_digest"}` is a COSE receipt: base64, the PEM of the key that signed it, and hex.
"""

import base64
import json
import sys
from hashlib import sha256

import ccf.receipt
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

try:
    from ccf.receipt import verify_cose  # 7.x
except ImportError:
    from ccf.cose import verify_receipt as verify_cose  # 6.x


def leaf_of(receipt):
    if "leaf_components" not in receipt:
        return receipt["leaf"]
    parts = receipt["leaf_components"]
    evidence_digest = sha256(parts["commit_evidence"].encode()).digest()
    claims_digest = bytes.fromhex(parts["claims_digest"])
    return sha256(bytes.fromhex(parts["write_set_digest"]) + evidence_digest + claims_digest).hexdigest()


def check(receipt, service_cert, chain):
    certificate = load_pem_x509_certificate(receipt["cert"].encode())
    service = load_pem_x509_certificate(service_cert.encode())
    endorsements = [load_pem_x509_certificate(pem.encode()) for pem in receipt.get("service_endorsements", [])]
    root = ccf.receipt.root(leaf_of(receipt), receipt["proof"])
    ccf.receipt.verify(root, receipt["signature"], certificate)
    ccf.receipt.check_endorsements(certificate, service, endorsements)
    if chain:
        ccf.receipt.check_cert_chain(certificate, service, endorsements)


def check_cose(cose, key, claims_digest):
    verify_cose(base64.b64decode(cose), load_pem_public_key(key.encode()), bytes.fromhex(claims_digest))


for line in sys.stdin:
    request = json.loads(line)
    try:
        check_cose(**request) if "cose" in request else check(**request)
        print("accepted")
    except Exception as error:
        print("refused", type(error).__name__, str(error).replace("\n", " ")[:100])
