"""`GET /gov/api`: the document of everything below `/gov`, or of one version of the modern API (node-api.md 2.3)."""

from collections.abc import Iterable, Mapping

from dataplane.api.gov_request import VERSIONS, check_version
from dataplane.api.openapi import document
from dataplane.apps.endpoint import Context, Endpoint, query_values


def describe(context: Context, endpoints: Iterable[Endpoint]) -> Mapping[str, object]:
    """The document; raises `RpcError` 400 for a version that does not exist."""
    if "api-version" not in query_values(context.request.query):
        return document("gov", endpoints)
    version = check_version(context)
    found = document("gov", [endpoint for endpoint in endpoints if version in _versions(endpoint)])
    return {**found, "info": {"title": "CCF Governance API", "version": version}}


def _versions(endpoint: Endpoint) -> list[object]:
    versions = endpoint.openapi.get(VERSIONS, [])
    return versions if isinstance(versions, list) else []
