"""Bad input to the resource manager: the contract's status and code, an ARM body, and a database left as it was."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.api.app import make_issuer
from tests.support.arm_world import (
    GROUPS,
    HOST,
    PROVIDER,
    SUBSCRIPTION,
    VERSION,
    World,
    encryption_key,
    instance_body,
    member,
    member_certificate,
    world,
)

COLLECTION = f"{GROUPS}/rg1/{PROVIDER}/managedCCFs"
OTHER_SUBSCRIPTION = "33333333-3333-4333-8333-333333333333"
TAG_LIMIT = {f"t{index}": "x" for index in range(51)}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A group with one live instance, `bank`, that nothing below may change."""
    with world(tmp_path_factory.mktemp("arm")) as started:
        started.make_instance()
        started.settle()
        yield started


def member_with(**changes: Any) -> dict[str, Any]:
    return {"memberIdentityCertificates": [member("alice") | changes]}


BODIES: list[tuple[str, Any, int, str]] = [
    # what, body, status, code
    *[
        (f"nodeCount {count}", instance_body(nodeCount=count), 400, "InvalidParameter")
        for count in (-1, 0, 1, 2, 4, 11)
    ],
    ("nodeCount as text", instance_body(nodeCount="3"), 400, "InvalidRequestContent"),
    ("nodeCount as fraction", instance_body(nodeCount=3.5), 400, "InvalidRequestContent"),
    ("nodeCount as truth", instance_body(nodeCount=True), 400, "InvalidRequestContent"),
    ("a huge nodeCount", instance_body(nodeCount=10**40), 400, "InvalidParameter"),
    ("no location", {"properties": instance_body()["properties"]}, 400, "LocationRequired"),
    ("null location", instance_body(location=None), 400, "LocationRequired"),
    ("unknown location", instance_body(location="atlantis"), 400, "LocationNotAvailableForResourceType"),
    ("location as number", instance_body(location=1), 400, "InvalidRequestContent"),
    ("no members", instance_body(memberIdentityCertificates=[]), 400, "InvalidParameter"),
    ("no properties", {"location": "southcentralus"}, 400, "InvalidParameter"),
    ("member without certificate", instance_body(memberIdentityCertificates=[{}]), 400, "InvalidRequestContent"),
    ("certificate is text", instance_body(**member_with(certificate="hello")), 400, "InvalidParameter"),
    ("certificate is a key", instance_body(**member_with(certificate=encryption_key())), 400, "InvalidParameter"),
    (
        "certificate is cut",
        instance_body(**member_with(certificate=member_certificate("a")[:300])),
        400,
        "InvalidParameter",
    ),
    ("encryption key is text", instance_body(**member_with(encryptionkey="hello")), 400, "InvalidParameter"),
    (
        "encryption key is short",
        instance_body(**member_with(encryptionkey=encryption_key(1024))),
        400,
        "InvalidParameter",
    ),
    ("member tags are a list", instance_body(**member_with(tags=["x"])), 400, "InvalidRequestContent"),
    ("runtime nobody knows", instance_body(deploymentType={"languageRuntime": "COBOL"}), 400, "InvalidRequestContent"),
    ("native runtime", instance_body(deploymentType={"languageRuntime": "CPP"}), 400, "InvalidParameter"),
    ("app by URI", instance_body(deploymentType={"appSourceUri": "https://x/app.zip"}), 400, "InvalidParameter"),
    ("state of ours", instance_body(runningState="Pausing"), 400, "InvalidParameter"),
    ("state nobody knows", instance_body(runningState="Asleep"), 400, "InvalidRequestContent"),
    ("born paused", instance_body(runningState="Paused"), 400, "InvalidParameter"),
    ("platform nobody knows", instance_body(enclavePlatform="TrustMe"), 400, "InvalidRequestContent"),
    ("too many tags", instance_body(tags=TAG_LIMIT), 400, "InvalidTagCount"),
    ("tag name", instance_body(tags={"a%b": "x"}), 400, "InvalidTagNameCharacters"),
    ("tag value is a number", instance_body(tags={"a": 1}), 400, "InvalidRequestContent"),
    ("body is a list", [], 400, "InvalidRequestContent"),
    ("body is null", None, 400, "InvalidRequestContent"),
    ("body is text", "hello", 400, "InvalidRequestContent"),
    ("properties are a list", {"location": "southcentralus", "properties": []}, 400, "InvalidRequestContent"),
]


@pytest.mark.parametrize(("what", "body", "status", "code"), BODIES, ids=[case[0] for case in BODIES])
def test_bodies(here: World, what: str, body: Any, status: int, code: str) -> None:
    refused(here, status, code, "PUT", f"{COLLECTION}/shop", body)


RAW_BODIES = [
    ("empty", b""),
    ("half", b'{"location": "southcentralus"'),
    ("not a number", b'{"location": NaN}'),
    ("infinity", b'{"location": "southcentralus", "properties": {"nodeCount": Infinity}}'),
    ("not UTF-8", b'{"location": "\xff\xfe"}'),
    ("unpaired surrogate", b'{"location": "\\ud800"}'),
    ("deep", b'{"properties":' + b"[" * 100_000),
    ("a number too long to read", b'{"location": ' + b"9" * 5000 + b"}"),
    ("HTML", b"<html></html>"),
]


@pytest.mark.parametrize(("what", "raw"), RAW_BODIES, ids=[case[0] for case in RAW_BODIES])
def test_bodies_that_are_no_json(here: World, what: str, raw: bytes) -> None:
    options = {"content": raw, "headers": {"Content-Type": "application/json"}}
    refused(here, 400, "InvalidRequestContent", "PUT", f"{COLLECTION}/shop", **options)


def test_bodies_of_another_type_and_bodies_too_long(here: World) -> None:
    text = {"content": b"location: southcentralus", "headers": {"Content-Type": "text/yaml"}}
    refused(here, 415, "UnsupportedMediaType", "PUT", f"{COLLECTION}/shop", **text)
    long = {"content": b" " * (4 * 1024 * 1024 + 1), "headers": {"Content-Type": "application/json"}}
    refused(here, 413, "RequestContentTooLarge", "PUT", f"{COLLECTION}/shop", **long)

    async def chunks() -> Any:
        for _ in range(5):
            yield b" " * 1024 * 1024

    streamed = {"content": chunks(), "headers": {"Content-Type": "application/json"}}
    refused(here, 413, "RequestContentTooLarge", "PUT", f"{COLLECTION}/shop", **streamed)


@pytest.mark.parametrize("name", ["ab", "-abc", "abc-", "a" * 33, "a_b_c", "a.b.c", "a%20b", "b%C3%A4nk"])
def test_names(here: World, name: str) -> None:
    refused(here, 400, "InvalidResourceName", "PUT", f"{COLLECTION}/{name}", instance_body())


@pytest.mark.parametrize("name", ["rg.", "a" * 91, "a%20b", "a%3Cb"])
def test_group_names(here: World, name: str) -> None:
    body = {"location": "southcentralus"}
    refused(here, 400, "InvalidResourceGroup", "PUT", f"{GROUPS}/{name}", body, "2024-11-01")


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, "MissingApiVersionParameter"),
        ("", "MissingApiVersionParameter"),
        ("latest", "InvalidApiVersionParameter"),
        ("2024-09-19-preview'--", "InvalidApiVersionParameter"),
        ("2026-02-23", "NoRegisteredProviderFound"),
        ("2022-05-13", "NoRegisteredProviderFound"),
        ("2024-09-19", "NoRegisteredProviderFound"),
    ],
)
def test_api_versions(here: World, version: str | None, code: str) -> None:
    for method, body in (("PUT", instance_body()), ("GET", None), ("DELETE", None)):
        refused(here, 400, code, method, f"{COLLECTION}/bank", body, version)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/subscriptions/mine/{PROVIDER}/managedCCFs", 400, "InvalidSubscriptionId"),
        (f"/subscriptions/{OTHER_SUBSCRIPTION}/{PROVIDER}/managedCCFs", 404, "SubscriptionNotFound"),
        (f"{GROUPS}/nowhere/{PROVIDER}/managedCCFs", 404, "ResourceGroupNotFound"),
        (f"{GROUPS}/nowhere/{PROVIDER}/managedCCFs/bank", 404, "ResourceGroupNotFound"),
        (f"{COLLECTION}/missing", 404, "ResourceNotFound"),
        (f"{GROUPS}/rg1/providers/Microsoft.ConfidentialLedger/managedHSMs/x", 404, "InvalidResourceType"),
        (f"{GROUPS}/rg1/providers/Microsoft.Storage/accounts/x", 404, "InvalidResourceNamespace"),
        (f"/{PROVIDER}/locations/southcentralus/operationStatuses/{OTHER_SUBSCRIPTION}", 404, "ResourceNotFound"),
        (f"/{PROVIDER}/locations/southcentralus/operationStatuses/x'; DROP TABLE operations", 404, "ResourceNotFound"),
        (f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Nothing", 404, "InvalidResourceNamespace"),
    ],
)
def test_paths(here: World, path: str, status: int, code: str) -> None:
    refused(here, status, code, "GET", path)


def test_a_missing_group_comes_before_a_bad_body(here: World) -> None:
    path = f"{GROUPS}/nowhere/{PROVIDER}/managedCCFs/shop"
    refused(here, 404, "ResourceGroupNotFound", "PUT", path, {"location": 1})
    raw = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    refused(here, 404, "ResourceGroupNotFound", "PUT", path, **raw)


@pytest.mark.parametrize("query", [{"$filter": "name"}, {"$filter": "1 eq 1"}, {"$filter": "location eq 'a' or 1"}])
def test_filters(here: World, query: dict[str, str]) -> None:
    refused(here, 400, "InvalidFilterInQueryString", "GET", COLLECTION, params=query)
    refused(here, 400, "InvalidParameter", "GET", COLLECTION, params={"$skipToken": "??"})


def test_methods_nobody_serves(here: World) -> None:
    refused(here, 405, "MethodNotAllowed", "POST", f"{COLLECTION}/bank", {})
    refused(here, 405, "MethodNotAllowed", "PUT", COLLECTION, {})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{COLLECTION}/bank/backup"),
        ("POST", f"{COLLECTION}/gone/restore"),
        ("GET", f"{GROUPS}/rg1/{PROVIDER}/ledgers"),
        ("PUT", f"{COLLECTION}/bank/providers/Microsoft.Authorization/locks/keep"),
        ("PUT", f"{GROUPS}/rg1/providers/Microsoft.Resources/deployments/one"),
        ("POST", f"{GROUPS}/rg1/providers/Microsoft.Resources/deployments/one/validate"),
        ("GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleAssignments"),
    ],
)
def test_what_is_not_offered_says_so_and_does_nothing(here: World, method: str, path: str) -> None:
    body = {"uri": "https://account.file.core.windows.net/?sig=SECRETSAS"} if method == "POST" else None
    answer = refused(here, 501, "NotImplemented", method, path, body)
    assert "SECRETSAS" not in answer.text
    assert "retry-after" not in answer.headers


def tokens(here: World) -> dict[str, tuple[str | None, str]]:
    issuer = make_issuer(here.settings)
    now = datetime.now(UTC)

    def token(audience: str = "https://management.azure.com/", at: datetime = now) -> str:
        return issuer.access_token(app_id="app", object_id="oid", audience=audience, now=at)

    head, body, signature = token().split(".")
    return {
        "none": (None, "AuthenticationFailed"),
        "another scheme": ("Basic YTpi", "AuthenticationFailed"),
        "an empty one": ("Bearer ", "AuthenticationFailed"),
        "rubbish": ("Bearer rubbish", "InvalidAuthenticationToken"),
        "an unsigned one": (f"Bearer {head}.{body}.", "InvalidAuthenticationToken"),
        "one with another body": (f"Bearer {head}.{body[:-2]}AA.{signature}", "InvalidAuthenticationToken"),
        "an old one": ("Bearer " + token(at=now - timedelta(days=1)), "ExpiredAuthenticationToken"),
        "one for another": ("Bearer " + token("https://vault/"), "InvalidAuthenticationTokenAudience"),
    }


def test_tokens(here: World) -> None:
    before = here.rows()
    for what, (header, code) in tokens(here).items():
        for method, path in (
            ("PUT", f"{COLLECTION}/shop"),
            ("GET", "/subscriptions"),
            ("DELETE", "/providers/no/such"),
        ):
            headers = {} if header is None else {"Authorization": header}
            answer = here.client.request(method, path, headers=headers, params={"api-version": VERSION}, content=b"{")
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), what
            assert answer.headers["www-authenticate"].startswith(f'Bearer authorization_uri="{HOST}/')
    assert here.rows() == before


def test_a_host_header_is_never_believed_blindly(here: World) -> None:
    answer = here.client.get("/metadata/endpoints?api-version=2022-09-01", headers={"Host": "evil example/"})
    assert answer.json()["resourceManager"] == f"{HOST}/"


def test_the_live_instance_is_still_served(here: World) -> None:
    """The last word of this table: after all of it, the good request works."""
    assert here.call("GET", f"{COLLECTION}/bank").json()["properties"]["provisioningState"] == "Succeeded"
    assert here.call("PUT", f"{COLLECTION}/bank", instance_body()).status_code == 201


def refused(
    here: World,
    status: int,
    code: str,
    method: str,
    path: str,
    body: Any = None,
    version: str | None = VERSION,
    **options: Any,
) -> Any:
    """Send it, and check status, code, the shape of the error and that nothing was written."""
    before, hints = here.rows(), len(here.hints)
    answer = here.call(method, path, body, version, **options)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-ms-error-code"] == code
    assert set(answer.json()["error"]) <= {"code", "message", "target", "details", "additionalInfo"}
    assert "x-ms-request-id" in answer.headers
    assert here.rows() == before
    assert len(here.hints) == hints
    return answer
