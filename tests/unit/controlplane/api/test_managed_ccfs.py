"""PUT, PATCH, DELETE and lists of instances (control-plane.md 1.2 to 1.8, 4.4)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.arm_world import HOST, PROVIDER, SUBSCRIPTION, VERSION, World, instance_body, member, world

ERROR = {"code": "NodeStartFailed", "message": "Node 2 did not join within 120 s.", "target": "properties.nodeCount"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def operation(here: World, answer: Any) -> dict[str, Any]:
    status: dict[str, Any] = here.call("GET", answer.headers["azure-asyncoperation"].partition("?")[0]).json()
    return status


def test_create_to_succeeded(here: World) -> None:
    created = here.make_instance()
    assert created.status_code == 201
    assert created.json()["properties"]["provisioningState"] == "Creating"
    assert "appUri" not in created.json()["properties"]
    assert "location" not in created.headers, "a PUT with a Location sends some clients there (control-plane.md 3.1)"
    assert len(here.hints) == 1
    assert operation(here, created)["status"] == "Creating"
    here.settle()
    assert operation(here, created)["status"] == "Succeeded"
    properties = here.call("GET", here.instance_path()).json()["properties"]
    assert (properties["provisioningState"], properties["runningState"]) == ("Succeeded", "Active")
    assert properties["waitingForMembers"] == ["ab" * 32]
    assert properties["platform"] == {"kind": "virtual", "confidential": False, "label": "simulated"}
    assert here.client.get("/ledgerIdentity/BANK").json()["ledgerTlsCertificate"].startswith("-----BEGIN")


def test_an_identical_put_changes_nothing(here: World) -> None:
    created = here.make_instance()
    before = here.rows()
    again = here.call("PUT", here.instance_path(), instance_body())
    assert again.status_code == 201
    assert again.headers["azure-asyncoperation"] == created.headers["azure-asyncoperation"]
    assert here.rows() == before
    here.settle()
    before = here.rows()
    later = here.call("PUT", here.instance_path(), instance_body())
    assert later.json()["properties"]["provisioningState"] == "Succeeded"
    assert here.rows() == before
    assert len(here.hints) == 2, "the repetition while creating is a second hint, harmless and free"


def test_what_get_answers_can_be_put_back(here: World) -> None:
    """`az resource update` and `az resource tag` send the whole object, read-only members included."""
    here.make_instance()
    here.settle()
    before = here.rows()
    whole = here.call("GET", here.instance_path()).json()
    assert here.call("PUT", here.instance_path(), whole).status_code == 201
    assert here.rows() == before
    tagged = here.call("PUT", here.instance_path(), whole | {"tags": {"a": "b"}})
    assert (tagged.status_code, tagged.json()["tags"]) == (201, {"a": "b"})
    assert operation(here, tagged)["status"] == "Succeeded"


def test_enums_are_read_in_any_casing_and_echoed_in_ours(here: World) -> None:
    body = instance_body(
        deploymentType={"languageRuntime": "js", "appSourceUri": ""}, runningState="ACTIVE", enclavePlatform="amdsevsnp"
    )
    here.make_group()
    properties = here.call("PUT", here.instance_path(), body).json()["properties"]
    assert properties["deploymentType"] == {"languageRuntime": "JS", "appSourceUri": ""}
    assert properties["enclavePlatform"] == "AmdSevSnp"
    assert properties["platform"]["confidential"] is False


def test_the_platform_is_read_only_in_newer_versions(here: World) -> None:
    here.make_group()
    body = instance_body(enclavePlatform="AmdSevSnp")
    answer = here.call("PUT", here.instance_path(), body, "2025-06-10-preview")
    assert answer.json()["properties"]["enclavePlatform"] == "IntelSgx"


def test_member_tags_are_kept_as_they_came(here: World) -> None:
    tags = {"identifier": "alice", "nothing": None, "deep": {"list": [1, 2.5, "\u00e9", None]}}
    answer = here.make_instance(memberIdentityCertificates=[member("alice") | {"tags": tags}])
    assert answer.json()["properties"]["memberIdentityCertificates"][0]["tags"] == tags


def test_another_put_must_wait(here: World) -> None:
    here.make_instance()
    before = here.rows()
    for method in ("PUT", "PATCH"):
        answer = here.call(method, here.instance_path(), instance_body(tags={"other": "1"}))
        assert (answer.status_code, code(answer)) == (409, "AnotherOperationInProgress")
        assert "retry-after" not in answer.headers, "clients would repeat it by themselves (control-plane.md 4.6)"
    assert here.rows() == before


def test_a_failed_create_is_visible_and_can_be_tried_again(here: World) -> None:
    created = here.make_instance()
    here.settle(error=ERROR)
    status = operation(here, created)
    assert (status["status"], status["error"]) == ("Failed", ERROR)
    assert here.call("GET", here.instance_path()).json()["properties"]["provisioningState"] == "Failed"
    assert code(here.call("PATCH", here.instance_path(), {"tags": {}})) == "Conflict"
    again = here.call("PUT", here.instance_path(), instance_body(nodeCount=5))
    assert again.json()["properties"]["provisioningState"] == "Creating"
    assert operation(here, again)["status"] == "Creating"
    here.settle()
    assert here.call("GET", here.instance_path()).json()["properties"]["nodeCount"] == 5


def test_a_late_copy_of_a_failed_put_does_not_start_again(here: World) -> None:
    here.make_group()
    attempt = {"x-ms-client-request-id": "attempt-1"}
    created = here.call("PUT", here.instance_path(), instance_body(), headers=attempt)
    here.settle(error=ERROR)
    before = here.rows()
    late = here.call("PUT", here.instance_path(), instance_body(), headers=attempt)
    assert late.headers["azure-asyncoperation"] == created.headers["azure-asyncoperation"]
    assert here.rows() == before
    fresh = here.call("PUT", here.instance_path(), instance_body(), headers={"x-ms-client-request-id": "attempt-2"})
    assert fresh.headers["azure-asyncoperation"] != created.headers["azure-asyncoperation"]


@pytest.mark.parametrize(
    ("properties", "target"),
    [
        ({"nodeCount": 5}, "properties.nodeCount"),
        ({"runningState": "Paused"}, "properties.runningState"),
        ({"memberIdentityCertificates": [member("bob")]}, "properties.memberIdentityCertificates"),
        ({"enclavePlatform": "AmdSevSnp"}, "properties.enclavePlatform"),
    ],
)
def test_what_a_live_service_does_not_change_here(here: World, properties: dict[str, Any], target: str) -> None:
    here.make_instance()
    here.settle()
    before = here.rows()
    for answer in (
        here.call("PATCH", here.instance_path(), {"properties": properties}),
        here.call("PUT", here.instance_path(), instance_body(**properties)),
    ):
        assert (answer.status_code, code(answer)) == (409, "OperationNotAllowed")
        assert answer.json()["error"]["target"] == target
    assert here.rows() == before


def test_patch_of_tags_replaces_them_and_leaves_the_rest(here: World) -> None:
    here.make_instance()
    here.settle()
    first = here.call("PATCH", here.instance_path(), {"tags": {"x": "1"}, "location": "South Central US"})
    assert (first.status_code, first.json()["tags"]) == (200, {"x": "1"})
    assert first.json()["properties"]["provisioningState"] == "Succeeded"
    before = here.rows()
    assert here.call("PATCH", here.instance_path(), {"tags": {"x": "1"}}).status_code == 200
    assert here.call("PATCH", here.instance_path(), {"properties": {"nodeCount": 3}}).status_code == 200
    assert here.call("PATCH", here.instance_path(), {}).status_code == 200
    assert here.rows() == before
    assert code(here.call("PATCH", here.instance_path(), {"location": "westeurope"})) == "InvalidResourceLocation"


def test_delete_while_creating_cancels(here: World) -> None:
    created = here.make_instance()
    deleted = here.call("DELETE", here.instance_path())
    assert deleted.status_code == 202
    assert operation(here, created)["status"] == "Canceled"
    assert here.call("GET", here.instance_path()).json()["properties"]["provisioningState"] == "Deleting"
    before = here.rows()
    again = here.call("DELETE", here.instance_path())
    assert again.headers["azure-asyncoperation"] == deleted.headers["azure-asyncoperation"]
    assert here.rows() == before
    assert code(here.call("PUT", here.instance_path(), instance_body())) == "AnotherOperationInProgress"
    here.settle()
    assert operation(here, deleted)["status"] == "Succeeded"
    assert code(here.call("GET", here.instance_path())) == "ResourceNotFound"
    assert here.call("DELETE", here.instance_path()).status_code == 204


def test_a_name_is_free_as_soon_as_its_instance_is_gone(here: World) -> None:
    here.make_instance()
    here.call("DELETE", here.instance_path())
    here.settle()
    assert here.make_instance().status_code == 201


def test_names_are_unique_over_groups_and_casing(here: World) -> None:
    here.make_instance()
    here.make_group("rg2")
    answer = here.call("PUT", here.instance_path("BANK", "rg2"), instance_body())
    assert (answer.status_code, code(answer)) == (409, "ResourceNameNotAvailable")
    assert here.call("GET", here.instance_path("bank", "rg2")).status_code == 404
    check = {"name": "Bank", "type": "microsoft.confidentialledger/LEDGERS"}
    path = f"/subscriptions/{SUBSCRIPTION}/{PROVIDER}/checkNameAvailability"
    assert here.call("POST", path, check).json()["reason"] == "AlreadyExists"
    assert here.call("POST", path, check | {"name": "a"}).json()["reason"] == "Invalid"
    assert code(here.call("POST", path, check | {"type": "Microsoft.Storage/accounts"})) == "InvalidParameter"


def test_the_users_latest_casing_is_kept(here: World) -> None:
    here.make_instance()
    here.settle()
    answer = here.call("PUT", here.instance_path("Bank", "RG1"), instance_body())
    assert answer.json()["id"].endswith("/resourceGroups/RG1/providers/Microsoft.ConfidentialLedger/managedCCFs/Bank")


def test_etags(here: World) -> None:
    created = here.make_instance()
    here.settle()
    tag = here.call("GET", here.instance_path()).headers["etag"]
    assert tag != created.headers["etag"]
    body = {"tags": {"n": "1"}}
    stale = here.call("PATCH", here.instance_path(), body, headers={"If-Match": created.headers["etag"]})
    assert (stale.status_code, code(stale)) == (412, "PreconditionFailed")
    assert here.call("PATCH", here.instance_path(), body, headers={"If-Match": tag}).status_code == 200
    exists = here.call("PUT", here.instance_path(), instance_body(), headers={"If-None-Match": "*"})
    assert exists.status_code == 412
    assert here.call("DELETE", here.instance_path(), headers={"If-Match": tag}).status_code == 412
    missing = here.call("PUT", here.instance_path("shop"), instance_body(), headers={"If-Match": "*"})
    assert missing.status_code == 412
    assert (
        here.call("PUT", here.instance_path("shop"), instance_body(), headers={"If-None-Match": "*"}).status_code == 201
    )


def test_lists_page_by_page(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.api.managed_ccfs.PAGE_SIZE", 2)
    for name in ("one", "two", "three", "four", "five"):
        here.make_instance(name, tags={"n": name})
    url = f"/subscriptions/{SUBSCRIPTION}/{PROVIDER}/managedCCFs/"
    seen = []
    params: dict[str, str] = {"api-version": VERSION, "$filter": "location eq 'southcentralus'"}
    while url:
        page = here.call("GET", url, version=None, params=params).json()
        seen.append([item["name"] for item in page["value"]])
        url, params = page.get("nextLink", "").removeprefix(HOST), {}
    assert seen == [["five", "four"], ["one", "three"], ["two"]]
    group = here.call("GET", here.instance_path("x").rpartition("/")[0], params={"$filter": "tagValue eq 'two'"})
    assert [item["name"] for item in group.json()["value"]] == ["two"]
    missing = here.call("GET", here.instance_path("x", "nowhere").rpartition("/")[0])
    assert (missing.status_code, code(missing)) == (404, "ResourceGroupNotFound")


def test_an_unregistered_provider_says_what_to_register(here: World) -> None:
    here.make_group()
    provider = f"/subscriptions/{SUBSCRIPTION}/{PROVIDER}"
    assert (
        here.call("POST", f"{provider}/unregister", version="2024-11-01").json()["registrationState"] == "NotRegistered"
    )
    answer = here.call("PUT", here.instance_path(), instance_body())
    assert (answer.status_code, code(answer)) == (409, "MissingSubscriptionRegistration")
    assert answer.json()["error"]["message"].endswith("'Microsoft.ConfidentialLedger'")
    here.call("POST", f"{provider}/register", version="2016-02-01")
    assert here.make_instance().status_code == 201


def test_deleting_a_group_deletes_its_members_first(here: World) -> None:
    group = here.make_group()
    for name in ("one", "two"):
        here.make_instance(name)
    deleting = here.call("DELETE", group, version="2024-11-01")
    again = here.call("DELETE", group, version="2024-11-01")
    assert again.headers["location"] == deleting.headers["location"]
    result = deleting.headers["location"].partition("?")[0]
    here.settle("one")
    assert here.call("GET", result, version="2024-11-01").status_code == 202
    here.settle("two")
    assert here.call("GET", result, version="2024-11-01").status_code == 204
    assert code(here.call("GET", group, version="2024-11-01")) == "ResourceGroupNotFound"
    here.make_group("empty")
    assert here.call("DELETE", group.replace("rg1", "empty"), version="2024-11-01").status_code == 200


def test_events_are_in_order_and_can_be_resumed(here: World) -> None:
    here.make_instance()
    here.settle()
    here.call("PATCH", here.instance_path(), {"tags": {"x": "1"}})
    path = f"{here.instance_path()}/providers/Mccf.Instances/events"
    events = here.call("GET", path, version="2026-01-01-preview").json()["value"]
    assert [event["kind"] for event in events] == [
        "instance.create.requested",
        "operation.succeeded",
        "instance.updated",
    ]
    later = here.call("GET", path, version="2026-01-01-preview", params={"after": str(events[1]["sequence"])}).json()
    assert later["value"] == events[2:]


def test_requests_beyond_the_limit_are_told_when_to_come_back(tmp_path: Path) -> None:
    with world(tmp_path, writes_per_hour=1) as here:
        here.make_group()
        answer = here.call("PUT", here.instance_path(), instance_body())
        assert (answer.status_code, code(answer)) == (429, "TooManyRequests")
        assert 0 < int(answer.headers["retry-after"]) <= 3600
        assert here.call("GET", here.instance_path()).status_code == 404
        assert answer.json()["error"]["code"] == answer.headers["x-ms-error-code"]
