"""Paths that no route serves: what the contract names and this release lacks, and what nobody has."""

import re

from controlplane.arm.resource_id import INSTANCE_TYPE, NAMESPACE, is_resource_manager_path
from controlplane.errors import ArmError, not_found, not_offered

_ANY_NAME = "[^/]+"
_INSTANCE = f"/subscriptions/{_ANY_NAME}/resourceGroups/{_ANY_NAME}/providers/{NAMESPACE}/{INSTANCE_TYPE}/{_ANY_NAME}"

# Patterns of folded paths, and the operation that an answer names.
_LATER = (
    (re.compile(f"{_INSTANCE}/backup"), f"{NAMESPACE}/{INSTANCE_TYPE}/backup"),
    (re.compile(f"{_INSTANCE}/restore"), f"{NAMESPACE}/{INSTANCE_TYPE}/restore"),
    (re.compile(f".*/providers/{NAMESPACE}/ledgers(/.*)?"), f"{NAMESPACE}/ledgers"),
    (re.compile(r".*/providers/Microsoft\.Authorization/locks(/.*)?"), "Microsoft.Authorization/locks"),
    (re.compile(r".*/providers/Microsoft\.Authorization/(role|provider).*"), "Microsoft.Authorization/roleAssignments"),
    (re.compile(r".*/providers/Microsoft\.Insights/.*"), "Microsoft.Insights"),
    (re.compile(r".*/providers/Microsoft\.Resources/tags(/.*)?"), "Microsoft.Resources/tags"),
    (re.compile(r".*/deployments(/.*)?"), "Microsoft.Resources/deployments"),
    (re.compile(r".*/(moveResources|validateMoveResources|exportTemplate)"), "Microsoft.Resources/moveResources"),
)
_NAMESPACE = re.compile(r"/providers/([^/]+)")


def unserved(path: str) -> ArmError:
    """The answer for a folded path: 501 for what is to come, else a typed 404 (control-plane.md 5.3)."""
    if not is_resource_manager_path(path):
        return not_found("ResourceNotFound", "Nothing is served at this path.")
    for pattern, operation in _LATER:
        if pattern.fullmatch(path):
            return not_offered(operation)
    namespaces = _NAMESPACE.findall(path)
    if namespaces and namespaces[-1] != NAMESPACE:
        return not_found("InvalidResourceNamespace", f"The resource namespace '{namespaces[-1]}' is invalid.")
    message = "The resource type could not be found at this path."
    return not_found("InvalidResourceType", message)
