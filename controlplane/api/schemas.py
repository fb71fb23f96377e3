"""Request bodies, and the shapes of answers for the OpenAPI document (control-plane.md 1.3).

Requests are read strictly (a number is not a string), unknown and read-only members are ignored because clients send
whole objects back (control-plane.md 1.3), and enums are read in any casing and kept in ours.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from controlplane.arm.provisioning import ProvisioningState, RunningState

AnyEnum = TypeVar("AnyEnum", bound=StrEnum)


class LanguageRuntime(StrEnum):
    CPP = "CPP"
    JS = "JS"


class EnclavePlatform(StrEnum):
    INTEL_SGX = "IntelSgx"
    AMD_SEV_SNP = "AmdSevSnp"


class NameUnavailableReason(StrEnum):
    INVALID = "Invalid"
    ALREADY_EXISTS = "AlreadyExists"


def _any_casing(kind: type[AnyEnum]) -> Callable[[object], object]:
    by_key = {member.lower(): member for member in kind}
    return lambda value: by_key.get(value.lower(), value) if isinstance(value, str) else value


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


Tags = dict[str, str]


class MemberIdentityCertificate(_Body):
    certificate: str
    encryptionkey: str | None = None
    tags: dict[str, Any] | None = None


class DeploymentType(_Body):
    languageRuntime: Annotated[LanguageRuntime | None, BeforeValidator(_any_casing(LanguageRuntime))] = None
    appSourceUri: str | None = None


class ManagedCcfProperties(_Body):
    memberIdentityCertificates: list[MemberIdentityCertificate] | None = None
    deploymentType: DeploymentType | None = None
    nodeCount: Annotated[int | None, Field(json_schema_extra={"format": "int32"})] = None
    runningState: Annotated[RunningState | None, BeforeValidator(_any_casing(RunningState))] = None
    enclavePlatform: Annotated[EnclavePlatform | None, BeforeValidator(_any_casing(EnclavePlatform))] = None


class ManagedCcfUpdate(_Body):
    """A PATCH: every member optional."""

    location: str | None = None
    tags: Tags | None = None
    properties: ManagedCcfProperties | None = None


class ManagedCcfCreate(ManagedCcfUpdate):
    """A PUT: `location` is required, with an error code of its own (control-plane.md 5.3)."""

    model_config = ConfigDict(json_schema_extra={"required": ["location"]})


class GroupUpdate(_Body):
    tags: Tags | None = None


class GroupCreate(GroupUpdate):
    """`location` is required for a new group; `az group update` sends the whole group back."""

    location: str | None = None


class NameCheck(_Body):
    name: str
    type: str


# What answers look like. They are written by `views`; these shapes stand in the OpenAPI document.


class SystemData(BaseModel):
    createdBy: str
    createdByType: str
    createdAt: str
    lastModifiedBy: str
    lastModifiedByType: str
    lastModifiedAt: str


class Platform(BaseModel):
    """What the nodes really run on, beside the enum the clients know (decisions 7)."""

    kind: str
    confidential: bool
    label: str


class ManagedCcfView(BaseModel):
    appName: str
    appUri: str | None = None
    identityServiceUri: str | None = None
    memberIdentityCertificates: list[MemberIdentityCertificate]
    deploymentType: DeploymentType
    nodeCount: int
    runningState: RunningState
    provisioningState: ProvisioningState
    enclavePlatform: EnclavePlatform
    platform: Platform
    serviceState: str | None = None
    waitingForMembers: list[str] | None = None


class ManagedCcf(BaseModel):
    id: str
    name: str
    type: str
    location: str
    tags: Tags
    systemData: SystemData
    properties: ManagedCcfView


class ManagedCcfList(BaseModel):
    value: list[ManagedCcf]
    nextLink: str | None = None


class ErrorDetailView(BaseModel):
    code: str
    message: str
    target: str | None = None


class ErrorView(ErrorDetailView):
    details: list[ErrorDetailView] | None = None


class ErrorResponse(BaseModel):
    error: ErrorView


class OperationStatusView(BaseModel):
    id: str
    name: str
    resourceId: str
    status: str
    percentComplete: int
    startTime: str
    endTime: str | None = None
    properties: dict[str, Any] | None = None
    error: ErrorView | None = None


class NameCheckResult(BaseModel):
    nameAvailable: bool
    reason: NameUnavailableReason | None = None
    message: str | None = None


class OperationDisplay(BaseModel):
    provider: str
    resource: str
    operation: str
    description: str


class ProviderOperation(BaseModel):
    name: str
    isDataAction: bool
    display: OperationDisplay


class ProviderOperationList(BaseModel):
    value: list[ProviderOperation]


class GroupProperties(BaseModel):
    provisioningState: str


class Group(BaseModel):
    id: str
    name: str
    type: str
    location: str
    tags: Tags
    properties: GroupProperties


class GroupList(BaseModel):
    value: list[Group]
    nextLink: str | None = None


class ObjectList(BaseModel):
    """A list whose entries the generic resource manager endpoints describe."""

    value: list[dict[str, Any]]
    nextLink: str | None = None


class NodeView(BaseModel):
    name: str
    zone: str
    state: str
    nodeId: str | None = None
    role: str | None = None
    rpcAddress: str | None = None
    lastSeqno: int | None = None
    message: str | None = None
    createdAt: str
    updatedAt: str


class NodeList(BaseModel):
    value: list[NodeView]


class EventView(BaseModel):
    sequence: int
    at: str
    kind: str
    level: str
    message: str
    details: dict[str, Any] | None = None
    operationId: str | None = None
    correlationId: str | None = None
    caller: str | None = None


class EventList(BaseModel):
    value: list[EventView]
    nextLink: str | None = None


class LedgerIdentity(BaseModel):
    ledgerId: str
    ledgerTlsCertificate: str


class AccessToken(BaseModel):
    token_type: str
    expires_in: int
    ext_expires_in: int
    access_token: str


class OAuthError(BaseModel):
    error: str
    error_description: str
    error_codes: list[int]
    timestamp: str
    trace_id: str
    correlation_id: str
