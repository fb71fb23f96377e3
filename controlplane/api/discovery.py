"""What clients read before they do anything: metadata, tenants, subscriptions, providers (control-plane.md 6.1, 7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from controlplane.api.answers import ArmJson
from controlplane.api.arm_headers import MANAGED_CCF_VERSIONS
from controlplane.api.call import CallOf
from controlplane.api.routing import ERRORS, arm_router
from controlplane.api.schemas import ObjectList
from controlplane.api.services import Services, ServicesOf
from controlplane.arm.resource_id import INSTANCE_TYPE, NAMESPACE
from controlplane.arm.validation import is_api_version
from controlplane.errors import ArmError, bad_request, not_found
from controlplane.issuer.tokens import ARM_AUDIENCES
from controlplane.store import queries

CLOUD_NAME = "MccfLocal"
FEATURE = "ManagedCCF"
# The api-versions that answer `/metadata/endpoints` in older shapes (control-plane.md 6.1).
_FIRST_LIST_VERSION = "2019-05-01"
_FIRST_OBJECT_VERSION = "2022-01-01"
_PROVIDERS = (NAMESPACE, "Microsoft.Resources", "Microsoft.Features", "Microsoft.Authorization", "Microsoft.Insights")
_NAMES = {"southcentralus": "South Central US", "westeurope": "West Europe"}

Namespace = Annotated[str, Path(alias="resourceProviderNamespace", description="The provider, in any casing.")]
FeatureName = Annotated[str, Path(alias="featureName", description="The feature, in any casing.")]
Object = dict[str, Any]

public = APIRouter(redirect_slashes=False, responses=ERRORS)
tenant_router = arm_router(subscription=False)
router = arm_router(subscription=True)


@public.get("/metadata/endpoints", response_model=Object, name="Metadata_Endpoints")
def metadata(
    services: ServicesOf, call: CallOf, api_version: Annotated[str, Query(alias="api-version")] = _FIRST_OBJECT_VERSION
) -> Response:
    """One object since 2022; a list of such objects, or the oldest form, before."""
    if not is_api_version(api_version):
        raise bad_request("InvalidApiVersionParameter", "The api-version is invalid. It has the form YYYY-MM-DD.")
    if api_version < _FIRST_LIST_VERSION:
        return ArmJson(_oldest_metadata(call.origin))
    cloud = _cloud(call.origin)
    return ArmJson(cloud if api_version >= _FIRST_OBJECT_VERSION else [cloud])


@tenant_router.get("/subscriptions", response_model=ObjectList, name="Subscriptions_List")
def subscriptions(services: ServicesOf) -> Response:
    return ArmJson({"value": [_subscription(services)]})


@tenant_router.get("/tenants", response_model=ObjectList, name="Tenants_List")
def tenants(services: ServicesOf) -> Response:
    tenant_id = services.settings.tenant_id
    tenant = {
        "id": f"/tenants/{tenant_id}",
        "tenantId": tenant_id,
        "displayName": "mccf",
        "defaultDomain": "mccf.localhost",
        "tenantCategory": "Home",
    }
    return ArmJson({"value": [tenant]})


@router.get("/subscriptions/{subscriptionId}", response_model=Object, name="Subscriptions_Get")
def subscription(services: ServicesOf) -> Response:
    return ArmJson(_subscription(services))


@router.get("/subscriptions/{subscriptionId}/locations", response_model=ObjectList, name="Subscriptions_ListLocations")
def locations(services: ServicesOf) -> Response:
    return ArmJson({"value": [_location(services, name) for name in services.settings.locations]})


@router.get("/subscriptions/{subscriptionId}/providers", response_model=ObjectList, name="Providers_List")
def providers(services: ServicesOf) -> Response:
    return ArmJson({"value": [_provider(services, namespace) for namespace in _PROVIDERS]})


@router.get(
    "/subscriptions/{subscriptionId}/providers/{resourceProviderNamespace}", response_model=Object, name="Providers_Get"
)
def provider(services: ServicesOf, namespace: Namespace) -> Response:
    return ArmJson(_provider(services, known_namespace(namespace)))


@router.post(
    "/subscriptions/{subscriptionId}/providers/{resourceProviderNamespace}/register",
    response_model=Object,
    name="Providers_Register",
)
def register(services: ServicesOf, namespace: Namespace) -> Response:
    return _set_registration(services, known_namespace(namespace), "Registered")


@router.post(
    "/subscriptions/{subscriptionId}/providers/{resourceProviderNamespace}/unregister",
    response_model=Object,
    name="Providers_Unregister",
)
def unregister(services: ServicesOf, namespace: Namespace) -> Response:
    namespace = known_namespace(namespace)
    if namespace == NAMESPACE and _has_instances(services):
        message = f"The subscription still has resources of namespace '{NAMESPACE}'."
        raise ArmError(409, "Conflict", message)
    return _set_registration(services, namespace, "NotRegistered")


@router.put(
    "/subscriptions/{subscriptionId}/providers/Microsoft.Features/featureProviders/{resourceProviderNamespace}"
    "/subscriptionFeatureRegistrations/{featureName}",
    response_model=Object,
    name="SubscriptionFeatureRegistrations_CreateOrUpdate",
)
def register_feature(services: ServicesOf, namespace: Namespace, feature: FeatureName) -> Response:
    """200, never 201, which `az feature registration create` refuses (control-plane.md 7)."""
    kind = "Microsoft.Features/featureProviders/subscriptionFeatureRegistrations"
    return ArmJson(_feature(services, known_namespace(namespace), known_feature(feature), kind, "featureProviders"))


@router.post(
    "/subscriptions/{subscriptionId}/providers/Microsoft.Features/providers/{resourceProviderNamespace}"
    "/features/{featureName}/register",
    response_model=Object,
    name="Features_Register",
)
def register_feature_by_action(services: ServicesOf, namespace: Namespace, feature: FeatureName) -> Response:
    kind = "Microsoft.Features/providers/features"
    return ArmJson(_feature(services, known_namespace(namespace), known_feature(feature), kind, "providers"))


def known_namespace(namespace: str) -> str:
    """The namespace in our casing. Raises 404 `InvalidResourceNamespace`."""
    for known in _PROVIDERS:
        if known.lower() == namespace.lower():
            return known
    raise not_found("InvalidResourceNamespace", f"The resource namespace '{namespace}' is invalid.")


def known_feature(feature: str) -> str:
    if feature.lower() != FEATURE.lower():
        raise not_found("FeatureNotFound", f"The feature '{feature}' could not be found.")
    return FEATURE


def _cloud(origin: str) -> Object:
    root = f"{origin}/"
    login = {"loginEndpoint": root, "audiences": list(ARM_AUDIENCES), "tenant": "common", "identityProvider": "AAD"}
    return {
        "name": CLOUD_NAME,
        "portal": origin,
        "authentication": login,
        "resourceManager": root,
        "graph": root,
        "graphAudience": root,
        "microsoftGraphResourceId": root,
        "suffixes": {"storage": "core.localhost", "keyVaultDns": "vault.localhost"},
    }


def _oldest_metadata(origin: str) -> Object:
    root = f"{origin}/"
    login = {"loginEndpoint": root, "audiences": list(ARM_AUDIENCES)}
    return {"galleryEndpoint": root, "graphEndpoint": root, "portalEndpoint": root, "authentication": login}


def _subscription(services: Services) -> Object:
    subscription_id = services.settings.subscription_id
    return {
        "id": f"/subscriptions/{subscription_id}",
        "subscriptionId": subscription_id,
        "tenantId": services.settings.tenant_id,
        "displayName": "mccf",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": {"locationPlacementId": "Internal", "quotaId": "Internal", "spendingLimit": "Off"},
    }


def _location(services: Services, name: str) -> Object:
    display_name = _NAMES.get(name, name)
    return {
        "id": f"/subscriptions/{services.settings.subscription_id}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": display_name,
        "regionalDisplayName": display_name,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
    }


def _provider(services: Services, namespace: str) -> Object:
    subscription_id = services.settings.subscription_id
    with services.database.read() as session:
        state = queries.registration_state(session, subscription_id, namespace)
    return {
        "id": f"/subscriptions/{subscription_id}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": state,
        "resourceTypes": _resource_types(services, namespace),
    }


def _resource_types(services: Services, namespace: str) -> list[Object]:
    """`az` takes the version for a type from here, so only what we serve is listed (control-plane.md 7)."""
    locations = [_NAMES.get(name, name) for name in services.settings.locations]
    versions = list(MANAGED_CCF_VERSIONS)
    if namespace == NAMESPACE:
        capabilities = "SupportsTags, SupportsLocation"
        return [
            {
                "resourceType": INSTANCE_TYPE,
                "locations": locations,
                "apiVersions": versions,
                "capabilities": capabilities,
            },
            {"resourceType": "checkNameAvailability", "locations": [], "apiVersions": versions, "capabilities": "None"},
            {"resourceType": "operations", "locations": [], "apiVersions": versions, "capabilities": "None"},
        ]
    if namespace == "Microsoft.Resources":
        versions = ["2024-11-01"]
        return [
            {"resourceType": "resourceGroups", "locations": locations, "apiVersions": versions, "capabilities": "None"}
        ]
    return []


def _set_registration(services: Services, namespace: str, state: str) -> Response:
    with services.database.write() as session:
        queries.set_registration(session, services.settings.subscription_id, namespace, state)
    return ArmJson(_provider(services, namespace))


def _has_instances(services: Services) -> bool:
    with services.database.read() as session:
        return bool(queries.instances_of_subscription(session, services.settings.subscription_id))


def _feature(services: Services, namespace: str, feature: str, kind: str, scope: str) -> Object:
    """Every feature is on: what the preview flag gates elsewhere is always here."""
    subscription_id = services.settings.subscription_id
    collection = "subscriptionFeatureRegistrations" if scope == "featureProviders" else "features"
    features = f"/subscriptions/{subscription_id}/providers/Microsoft.Features/{scope}"
    return {
        "id": f"{features}/{namespace}/{collection}/{feature}",
        "name": feature if scope == "featureProviders" else f"{namespace}/{feature}",
        "type": kind,
        "properties": {"state": "Registered"},
    }
