"""The managed constitution as a text: complete, valid, carrying the digest of the sample application."""

import pytest

from controlplane.ccf_operator.constitution import managed_constitution as operators_text
from dataplane.governance.host_calls import check_constitution
from dataplane.governance.managed import bundle_digest, managed_constitution
from dataplane.js.interpreter import Limits

DIGEST = "0123456789abcdef" * 4


def test_it_is_a_constitution() -> None:
    check_constitution(managed_constitution(None), Limits())
    check_constitution(managed_constitution(DIGEST), Limits())


def test_the_control_plane_starts_services_with_the_same_text() -> None:
    assert operators_text() == managed_constitution(None)
    assert operators_text(DIGEST) == managed_constitution(DIGEST)


def test_digest_is_filled_in() -> None:
    assert f'SAMPLE_APP_DIGEST = "{DIGEST}"' in managed_constitution(DIGEST)
    assert 'SAMPLE_APP_DIGEST = ""' in managed_constitution(None)
    for text in (managed_constitution(None), managed_constitution(DIGEST)):
        assert "@SAMPLE" not in text


@pytest.mark.parametrize("digest", ["", "ab", DIGEST.upper(), DIGEST + "0", 'x"; throw new Error("'])
def test_anything_but_a_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case"):
        managed_constitution(digest)


def test_digest_of_a_bundle_does_not_depend_on_the_order_of_keys() -> None:
    assert bundle_digest({"a": [1, {"b": 2, "c": "ü"}]}) == bundle_digest({"a": [1, {"c": "ü", "b": 2}]})
    assert bundle_digest({"a": [1, 2]}) != bundle_digest({"a": [2, 1]})
