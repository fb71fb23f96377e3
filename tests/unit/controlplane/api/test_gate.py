"""The door: headers, ids, folding, discovery (control-plane.md 0, 4.1, 4.5, 6.1, 7)."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.api.app import create_app
from controlplane.settings import Settings
from tests.support.arm_world import GROUPS, HOST, PROVIDER, SUBSCRIPTION, TENANT, VERSION, AppClient, World, world

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("gate")) as started:
        started.make_instance()
        started.settle()
        yield started


def test_every_answer_carries_the_standard_headers(here: World) -> None:
    answers = [
        here.call("GET", here.instance_path()),
        here.call("GET", here.instance_path("nobody")),
        here.client.get("/nothing/here"),
        here.client.get("/subscriptions"),
    ]
    for answer in answers:
        assert GUID.fullmatch(answer.headers["x-ms-request-id"])
        assert GUID.fullmatch(answer.headers["x-ms-correlation-request-id"])
        assert answer.headers["x-ms-routing-request-id"].startswith("SOUTHCENTRALUS:")
        assert answer.headers["cache-control"] == answer.headers["pragma"] == "no-cache"
        assert answer.headers["expires"] == "-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "max-age" in answer.headers["strict-transport-security"]
    assert len({answer.headers["x-ms-request-id"] for answer in answers}) == len(answers)


def test_ids_a_client_gives_are_kept_or_echoed(here: World) -> None:
    correlation, request = str(uuid.uuid4()), "my request"
    headers = {
        "x-ms-correlation-request-id": correlation,
        "x-ms-client-request-id": request,
        "x-ms-return-client-request-id": "true",
    }
    answer = here.call("GET", here.instance_path(), headers=headers)
    assert answer.headers["x-ms-correlation-request-id"] == correlation
    assert answer.headers["x-ms-client-request-id"] == request
    silent = here.call("GET", here.instance_path(), headers={"x-ms-client-request-id": request})
    assert "x-ms-client-request-id" not in silent.headers
    odd = here.call("GET", here.instance_path(), headers={"x-ms-correlation-request-id": "not a guid"})
    assert GUID.fullmatch(odd.headers["x-ms-correlation-request-id"])


def test_what_is_left_of_each_limit_is_told(here: World) -> None:
    name = "x-ms-ratelimit-remaining-subscription-"
    first = int(here.call("GET", "/subscriptions", version="2022-12-01").headers[f"{name}reads"])
    second = int(here.call("GET", "/subscriptions", version="2022-12-01").headers[f"{name}reads"])
    assert second == first - 1
    assert f"{name}deletes" in here.call("DELETE", here.instance_path("nobody")).headers


@pytest.mark.parametrize(
    "path",
    [
        f"/subscriptions/{SUBSCRIPTION}/resourcegroups/RG1/providers/microsoft.confidentialledger/managedccfs/BANK",
        f"/SUBSCRIPTIONS/{SUBSCRIPTION}/resourceGroups/rg1/{PROVIDER}//managedCCFs/bank",
        f"//subscriptions//{SUBSCRIPTION}/resourceGroups/rg1/{PROVIDER}/ManagedCCFs/bank/",
    ],
)
def test_spellings_of_a_path_reach_the_same_resource(here: World, path: str) -> None:
    assert here.call("GET", HOST + path).json()["name"] == "bank"


@pytest.mark.parametrize("version", ["2022-09-08-preview", "2023-06-28-preview", "2025-06-10-preview"])
def test_all_versions_serve_the_same_resource(here: World, version: str) -> None:
    assert here.call("GET", here.instance_path(), version=version).json()["properties"]["nodeCount"] == 3


def test_urls_point_to_where_the_client_is(tmp_path: Path) -> None:
    """Without a configured public URL the `Host` header decides, unless it is no host (control-plane.md 0, rule 10)."""
    with world(tmp_path) as here:
        settings = Settings(tmp_path, tenant_id=TENANT, subscription_id=SUBSCRIPTION, port=8443)
        client = AppClient(create_app(settings, notify=here.hints.append, database=here.database))
        for host, origin in (
            ("127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("[::1]:8443", "https://[::1]:8443"),
            ("evil.example/path?", "https://localhost:8443"),
            ('a"b', "https://localhost:8443"),
        ):
            answer = client.get("/metadata/endpoints?api-version=2022-09-01", headers={"Host": host})
            assert answer.json()["resourceManager"] == f"{origin}/"
        client.close()


def test_metadata_by_version(here: World) -> None:
    def metadata(version: str) -> object:
        return here.client.get(f"/metadata/endpoints?api-version={version}").json()

    assert isinstance(metadata("2022-09-01"), dict)
    assert isinstance(metadata("2020-09-01"), list)
    assert "galleryEndpoint" in here.client.get("/metadata/endpoints?api-version=2015-01-01").json()
    assert here.client.get("/metadata/endpoints?api-version=now").status_code == 400


def test_the_four_requests_of_az_login(here: World) -> None:
    """control-plane.md 6.5: metadata, OpenID document, token, subscriptions."""
    cloud = here.client.get("/metadata/endpoints?api-version=2022-09-01").json()
    login = cloud["authentication"]["loginEndpoint"]
    document = here.client.get(f"{login}{TENANT}/v2.0/.well-known/openid-configuration").json()
    assert document["issuer"].startswith(HOST)
    assert document["token_endpoint"] == f"{HOST}/{TENANT}/oauth2/v2.0/token"
    assert here.client.get(document["jwks_uri"]).json()["keys"]
    subscriptions = here.call("GET", "/subscriptions", version="2022-12-01").json()["value"]
    assert [entry["subscriptionId"] for entry in subscriptions] == [SUBSCRIPTION]


def test_providers_list_only_what_is_served(here: World) -> None:
    provider = here.call("GET", f"/subscriptions/{SUBSCRIPTION}/{PROVIDER}", version="2024-11-01").json()
    types = {entry["resourceType"]: entry["apiVersions"] for entry in provider["resourceTypes"]}
    assert types["managedCCFs"][0] == "2025-06-10-preview"
    assert VERSION in types["managedCCFs"]
    assert "ledgers" not in types


def test_tokens_are_handed_out_over_the_wire(here: World) -> None:
    form = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y", "scope": "z"}
    answer = here.client.post(f"/{TENANT}/oauth2/v2.0/token?client-request-id=1", data=form)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert here.client.post(f"/{TENANT}/oauth2/v2.0/token", content=b"\xff\xfe").status_code == 400
    assert here.client.post("/nobody/oauth2/v2.0/token", data=form).json()["error"] == "invalid_tenant"


def test_group_lists_and_resources(here: World) -> None:
    assert [row["name"] for row in here.call("GET", GROUPS, version="2024-11-01").json()["value"]] == ["rg1"]
    resources = here.call(
        "GET",
        f"/subscriptions/{SUBSCRIPTION}/resources",
        version="2024-11-01",
        params={"$filter": "resourceGroup eq 'RG1' and resourceType eq 'microsoft.confidentialledger/managedccfs'"},
    )
    assert [row["name"] for row in resources.json()["value"]] == ["bank"]
