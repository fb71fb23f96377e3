"""Where the public test vectors lie: in `shared/vectors`, beside the checkout."""

import os
from pathlib import Path

import pytest

_VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors"


def vectors_dir() -> Path | None:
    """The directory of the vectors, or None where this machine has none."""
    return _VECTORS if _VECTORS.is_dir() else None


def require_vectors() -> Path:
    """The directory of the vectors; skips the test without it, and fails it in CI."""
    found = vectors_dir()
    if found is not None:
        return found
    reason = f"the test vectors are not at {_VECTORS}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def ccf_services() -> list[str]:
    """Names of the real services whose ledgers are among the vectors; empty without them."""
    found = vectors_dir()
    return sorted(path.name for path in (found / "ccf-services").iterdir()) if found else []
