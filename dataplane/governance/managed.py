"""The *managed* constitution: the text a service starts with when its customer brings no other (decisions.md 5).

The one thing that varies is the digest of the sample application that the operator may install by itself while the
service is still opening.
"""

import re
from hashlib import sha256

from dataplane.governance.constitution_texts import constitution_text
from dataplane.kv.tables import dump_json

_PLACEHOLDER = "@SAMPLE_APP_DIGEST@"
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


def managed_constitution(sample_digest: str | None) -> str:
    """The whole script. `sample_digest`: `bundle_digest` of the sample application, None to allow none.

    Raises `ValueError` when the digest is not 64 lower-case hex digits.
    """
    if sample_digest is not None and not _HEX_DIGEST.fullmatch(sample_digest):
        raise ValueError("the digest of the sample application must be 64 lower-case hexadecimal digits")
    return constitution_text("managed").replace(_PLACEHOLDER, sample_digest or "")


def bundle_digest(bundle: object) -> str:
    """Hex SHA-256 of a bundle's canonical JSON; `resolve.js` computes the same."""
    return sha256(dump_json(bundle)).hexdigest()
