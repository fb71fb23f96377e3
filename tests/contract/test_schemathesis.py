"""Schemathesis explores every documented operation: no 5xx, and answers shaped as documented (architecture.md 9)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.api_server import https_api, signed_in
from tests.support.arm_world import GROUPS, PROVIDER, SUBSCRIPTION, TENANT, VERSION, instance_body
from tests.support.openapi import DIRECTORY

UNLIMITED = 10**9
EXPLORE = settings(
    max_examples=25, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck), database=None
)
CHECKED = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN = {
    "subscriptionId": SUBSCRIPTION,
    "resourceGroupName": "rg1",
    "appName": "bank",
    "ledgerId": "bank",
    "tenant": TENANT,
    "resourceProviderNamespace": "Microsoft.ConfidentialLedger",
    "featureName": "ManagedCCF",
}

arm = schemathesis.openapi.from_path(DIRECTORY / "arm.yaml")
instance = schemathesis.openapi.from_path(DIRECTORY / "instance.yaml")
issuer = schemathesis.openapi.from_path(DIRECTORY / "issuer.yaml")


@dataclass(frozen=True, slots=True)
class Target:
    base_url: str
    session: requests.Session
    ca_file: str


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    limits = {f"{kind}_per_hour": UNLIMITED for kind in ("reads", "writes", "deletes")}
    with https_api(tmp_path_factory.mktemp("explored"), **limits) as config, requests.Session() as session:
        with signed_in(config) as client:
            path = f"{GROUPS}/rg1/{PROVIDER}/managedCCFs/bank"
            client.put(f"{GROUPS}/rg1", params={"api-version": "2024-11-01"}, json={"location": "southcentralus"})
            assert client.put(path, params={"api-version": VERSION}, json=instance_body()).status_code == 201
            session.headers["Authorization"] = client.headers["Authorization"]
        yield Target(config.base_url, session, str(config.ca_file))


@pytest.mark.ci
@arm.parametrize()
@EXPLORE
def test_the_resource_manager(case: Case, target: Target) -> None:
    explore(case, target)


@pytest.mark.ci
@instance.parametrize()
@EXPLORE
def test_the_instance_view(case: Case, target: Target) -> None:
    explore(case, target)


@pytest.mark.ci
@issuer.parametrize()
@EXPLORE
def test_the_issuer(case: Case, target: Target) -> None:
    explore(case, target)


def test_a_5xx_is_seen() -> None:
    """The positive control: the same checks refuse an answer of 500."""
    answer = requests.Response()
    answer.status_code = 500
    answer.headers["Content-Type"] = "application/json"
    answer._content = b'{"error": {"code": "x", "message": "y"}}'
    answer.request = requests.Request("GET", "https://localhost/subscriptions").prepare()
    case = arm["/subscriptions"]["GET"].Case()
    with pytest.raises(FailureGroup, match="Server error"):
        case.validate_response(answer, checks=CHECKED)


def explore(case: Case, target: Target) -> None:
    """Most random ids name nothing and end at the first check, so half of the cases get ids that exist."""
    if len(repr(case.body)) % 2 or not case.path_parameters:
        known = {name: value for name, value in KNOWN.items() if name in (case.path_parameters or {})}
        case.path_parameters = {**(case.path_parameters or {}), **known}
    answer = case.call(base_url=target.base_url, session=target.session, verify=target.ca_file, timeout=30)
    case.validate_response(answer, checks=CHECKED)
