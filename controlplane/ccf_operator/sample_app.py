"""The application that `appSourceUri: sample` installs: `samples/accounts`, shipped with us (decisions 5).

A service lets its operator install exactly this bundle while it is opening: its constitution holds the digest.
"""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from dataplane.client.bundle import load_bundle

DIRECTORY = Path(__file__).parents[2] / "samples" / "accounts"


@cache
def sample_bundle() -> dict[str, Any]:
    """The bundle as `set_js_app` takes it; not to be changed. Raises `BundleError` where it was not installed."""
    return load_bundle(DIRECTORY)


@cache
def sample_digest() -> str:
    """Hex SHA-256 of the bundle's canonical JSON, as the managed constitution computes it."""
    text = json.dumps(sample_bundle(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()
