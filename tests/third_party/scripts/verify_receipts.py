"""Verdicts of the public `ccf` package on receipts. Runs in its environment, knows nothing of ours.

Standard input holds one JSON object a line, `{"receipt", "service_cert", "chain"}`; standard output gets one line each:
`accepted`, or `refused` and why. With `chain`, certificate profiles and validity are checked as well.
"""

import json
import sys
from hashlib import sha256

import ccf.receipt
from cryptography.x509 import load_pem_x509_certificate


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


for line in sys.stdin:
    request = json.loads(line)
    try:
        check(request["receipt"], request["service_cert"], request["chain"])
        print("accepted")
    except Exception as error:
        print("refused", type(error).__name__, str(error).replace("\n", " ")[:100])
