"""The text of the constitution a service starts with when its customer brings no other (decisions 5).

The files belong to the data plane; they are read as data, for the control plane imports nothing of a node.
"""

from importlib.resources import files

PARTS = (
    "default/actions.js",
    "virtual/virtual_attestation_actions.js",
    "managed/validate.js",
    "managed/resolve.js",
    "managed/apply.js",
)
_SAMPLE_DIGEST = "@SAMPLE_APP_DIGEST@"


def managed_constitution(sample_digest: str | None = None) -> str:
    """The *managed* constitution. The operator may install the application of this digest, or none (None)."""
    folder = files("dataplane") / "governance" / "constitutions"
    return "\n".join((folder / part).read_text("utf-8") for part in PARTS).replace(_SAMPLE_DIGEST, sample_digest or "")
