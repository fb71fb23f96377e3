"""When a service may open, and which of its errors pass."""

from typing import Any

import pytest

from controlplane.ccf_operator import actions
from controlplane.ccf_operator.constitution import managed_constitution
from controlplane.ccf_operator.sample_app import sample_bundle, sample_digest
from controlplane.ccf_operator.service import ActionRefused, ServiceUnavailable
from dataplane.client.session import ServiceError
from dataplane.governance.managed import bundle_digest
from dataplane.governance.managed import managed_constitution as of_the_data_plane

KEY = "-----BEGIN PUBLIC KEY-----"


def _member(status: str = "Active", key: str | None = KEY, role: str = "Participant") -> dict[str, Any]:
    return {"memberId": "m", "status": status, "publicEncryptionKey": key, "recoveryRole": role if key else None}


@pytest.mark.parametrize(
    ("members", "threshold", "expected"),
    [
        ([], 0, False),
        ([_member("Accepted")], 1, False),
        ([_member()], 1, True),
        ([_member(), _member("Accepted")], 1, True),
        ([_member(), _member("Accepted")], 2, False),
        ([_member(), _member()], 2, True),
        ([_member(key=None)], 0, True),
        ([_member(key=None)], 1, False),
        ([_member("Accepted", key=None)], 0, False),
        ([_member(role="Owner")], 1, True),
        ([_member(role="Owner")], 2, False),
        ([_member(role="Owner"), _member()], 2, False),
        ([_member(role="NonParticipant")], 1, False),
    ],
)
def test_a_service_may_open(members: list[dict[str, Any]], threshold: int, expected: bool) -> None:
    assert actions.may_open(members, threshold) is expected


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (503, "InternalError", "no primary", ServiceUnavailable),
        (504, "InternalError", "timed out", ServiceUnavailable),
        (500, "InternalError", "no signature yet", ServiceUnavailable),
        (500, "InternalError", "Failed to apply(): Error: unknown node", ActionRefused),
        (400, "ProposalFailedToValidate", "node_id", ActionRefused),
        (401, "InvalidAuthenticationInfo", "who?", ActionRefused),
        (400, "NodeNotRetiredCommitted", "not yet", ServiceUnavailable),
    ],
)
def test_errors_are_sorted_into_not_now_and_no(status: int, code: str, message: str, kind: type) -> None:
    assert type(actions._sorted(ServiceError(status, code, message), "NodeNotRetiredCommitted")) is kind


def test_the_constitution_is_the_data_planes_own() -> None:
    assert managed_constitution() == of_the_data_plane(None)
    assert managed_constitution(sample_digest()) == of_the_data_plane(bundle_digest(sample_bundle()))
