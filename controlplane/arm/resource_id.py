"""ARM resource ids: parse, build and compare them (control-plane.md 4.1), and fold request paths to one casing."""

import re
from dataclasses import dataclass

NAMESPACE = "Microsoft.ConfidentialLedger"
INSTANCE_TYPE = "managedCCFs"
INSTANCE_RESOURCE_TYPE = f"{NAMESPACE}/{INSTANCE_TYPE}"

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ROOTS = frozenset({"subscriptions", "providers", "tenants"})
# The words that stand where a resource's name never does, in the casing our routes are written in.
_WORDS = {
    word.lower(): word
    for word in (
        "subscriptions",
        "resourceGroups",
        "providers",
        "tenants",
        "locations",
        "resources",
        "managedCCFs",
        "ledgers",
        "operations",
        "operationStatuses",
        "operationResults",
        "checkNameAvailability",
        "backup",
        "restore",
        "register",
        "unregister",
        "features",
        "featureProviders",
        "subscriptionFeatureRegistrations",
        "deployments",
        "validate",
        "whatIf",
        "exportTemplate",
        "moveResources",
        "validateMoveResources",
        "tagNames",
        "tags",
        "locks",
        "roleAssignments",
        "roleDefinitions",
        "providerOperations",
        "eventtypes",
        "diagnosticSettings",
        "diagnosticSettingsCategories",
        "nodes",
        "events",
    )
}
_NAMESPACES = {
    name.lower(): name
    for name in (
        NAMESPACE,
        "Microsoft.Resources",
        "Microsoft.Features",
        "Microsoft.Authorization",
        "Microsoft.Insights",
        "Mccf.Instances",
    )
}


class InvalidResourceId(ValueError):
    """The text is not an id of the expected shape."""


@dataclass(frozen=True, slots=True)
class InstanceId:
    """The id of one managed CCF; names keep the casing they were given."""

    subscription_id: str
    group: str
    name: str

    def __str__(self) -> str:
        return f"{group_id(self.subscription_id, self.group)}/providers/{INSTANCE_RESOURCE_TYPE}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "InstanceId":
        """Read an id in any casing. Raises `InvalidResourceId`."""
        match fold_path(text).split("/"):
            case ["", "subscriptions", subscription, "resourceGroups", group, "providers", namespace, kind, name]:
                if (namespace, kind) == (NAMESPACE, INSTANCE_TYPE) and subscription and group and name:
                    return cls(subscription, group, name)
        raise InvalidResourceId("not the id of a managed CCF")


def group_id(subscription_id: str, group: str) -> str:
    return f"/subscriptions/{subscription_id}/resourceGroups/{group}"


def same_id(left: str, right: str) -> bool:
    """Whether two ids name the same resource: case and repeated or trailing slashes do not matter."""
    return fold_path(left).lower() == fold_path(right).lower()


def is_guid(text: str) -> bool:
    return _GUID.fullmatch(text) is not None


def is_resource_manager_path(path: str) -> bool:
    """Whether a folded path belongs to the resource manager rather than to the issuer or the identity service."""
    return path.split("/")[1:2] != [] and path.split("/")[1].lower() in _ROOTS


def fold_path(path: str) -> str:
    """One spelling per resource: single slashes, none at the end, known words in our casing, names untouched.

    ARM paths alternate between words and names, and after `providers` comes a namespace; that is how a resource
    group called `Providers` keeps its name.
    """
    segments = [segment for segment in path.split("/") if segment]
    if not segments or segments[0].lower() not in _ROOTS:
        return "/" + "/".join(segments)
    return "/" + "/".join(_fold(segments, index) for index in range(len(segments)))


def _fold(segments: list[str], index: int) -> str:
    segment = segments[index]
    if index % 2 == 0:
        return _WORDS.get(segment.lower(), segment)
    if segments[index - 1].lower() == "providers":
        return _NAMESPACES.get(segment.lower(), segment)
    return segment
