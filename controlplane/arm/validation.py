"""What a request may say: names, locations, tags, node counts, members and what must not change.

Each check returns the problems it found, so that a caller learns of all of them at once (control-plane.md 1.3,
1.4, 4.2). Messages never quote what was sent: a member's file may hold a private key by mistake.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from controlplane.arm.provisioning import REQUESTABLE_RUNNING_STATES
from controlplane.errors import ArmError, ErrorDetail

NODE_COUNTS = (3, 5, 7, 9)
LANGUAGE_RUNTIMES_OFFERED = ("JS",)
CUSTOM_IMAGE = "customImage"
SAMPLE = "sample"
APP_SOURCES_OFFERED = (CUSTOM_IMAGE, SAMPLE)
MAX_MEMBERS = 100
MAX_PEM_BYTES = 16_384
MAX_MEMBER_TAGS_DEPTH = 8

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_GROUP_NAME = re.compile(r"[\w().-]{0,89}[\w()-]")
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z]+)?")
_TAG_NAME_FORBIDDEN = frozenset("<>%&\\?/")
_MIN_RSA_BITS = 2048

MEMBERS_PATH = "properties.memberIdentityCertificates"
GOVERNANCE_HINT = (
    "Members are governed inside the service: submit a set_member or remove_member proposal to "
    "{appUri}/gov/members/proposals:create, signed by a member."
)


def raise_problems(problems: Sequence[ErrorDetail], status: int = 400) -> None:
    """Nothing when there are none; else one error with the first problem's code and all of them as details."""
    if not problems:
        return
    first = problems[0]
    details = tuple(problems) if len(problems) > 1 else ()
    raise ArmError(status, first.code, first.message, first.target, details)


def is_api_version(text: str) -> bool:
    return _API_VERSION.fullmatch(text) is not None


def normalise_location(text: str) -> str:
    """`South Central US` and `southcentralus` are one region (control-plane.md 1.3)."""
    return text.replace(" ", "").lower()


def name_problem(name: str) -> str | None:
    """Why an instance may not be called so, or None."""
    if _NAME.fullmatch(name):
        return None
    return "A name has 3 to 32 letters, digits and hyphens; the first and the last are a letter or a digit."


def group_name_problem(name: str) -> str | None:
    """Why a resource group may not be called so, or None."""
    if _GROUP_NAME.fullmatch(name):
        return None
    return (
        "A resource group's name has 1 to 90 characters: letters, digits, underscores, parentheses, hyphens and "
        "periods, the last of them no period."
    )


def location_problems(location: str | None, offered: Sequence[str]) -> list[ErrorDetail]:
    """`location` is what the client sent, `offered` are normalised regions."""
    if location is None or not location.strip():
        return [ErrorDetail("LocationRequired", "The location property is required.", "location")]
    if normalise_location(location) in offered:
        return []
    message = f"The location is not offered for this resource type. Locations: {', '.join(offered)}."
    return [ErrorDetail("LocationNotAvailableForResourceType", message, "location")]


def tag_problems(tags: Mapping[str, str]) -> list[ErrorDetail]:
    """At most 50 pairs, names up to 512 characters without `<>%&\\?/`, values up to 256."""
    problems = []
    if len(tags) > 50:
        problems.append(ErrorDetail("InvalidTagCount", "A resource has at most 50 tags.", "tags"))
    if any(_TAG_NAME_FORBIDDEN & set(name) for name in tags):
        message = "A tag's name may not contain any of < > % & \\ ? /."
        problems.append(ErrorDetail("InvalidTagNameCharacters", message, "tags"))
    if any(not name.strip() or len(name) > 512 for name in tags):
        problems.append(ErrorDetail("InvalidTagNameLength", "A tag's name has 1 to 512 characters.", "tags"))
    if any(len(value) > 256 for value in tags.values()):
        problems.append(ErrorDetail("InvalidTagValueLength", "A tag's value has up to 256 characters.", "tags"))
    if len({name.lower() for name in tags}) != len(tags):
        problems.append(ErrorDetail("InvalidTagNameCharacters", "Tag names differ in casing only.", "tags"))
    return problems


def desired_problems(desired: Mapping[str, Any], *, allow_single_node: bool) -> list[ErrorDetail]:
    """Check a whole desired state, defaults filled in; the keys are those of `store.tables.Instance.desired`."""
    return [
        *_node_count_problems(desired["nodeCount"], allow_single_node),
        *_deployment_problems(desired),
        *_running_state_problems(desired["runningState"]),
        *member_problems(desired["memberIdentityCertificates"]),
    ]


def member_problems(members: Sequence[Mapping[str, Any]]) -> list[ErrorDetail]:
    """At least one member, each with a certificate that parses and, if it has one, an RSA encryption key."""
    if not members:
        return [ErrorDetail("InvalidParameter", "At least one member certificate is required.", MEMBERS_PATH)]
    if len(members) > MAX_MEMBERS:
        return [ErrorDetail("InvalidParameter", f"At most {MAX_MEMBERS} members can be named.", MEMBERS_PATH)]
    problems = []
    fingerprints: dict[bytes, int] = {}
    for index, member in enumerate(members):
        path = f"{MEMBERS_PATH}[{index}]"
        certificate, problem = _read_certificate(str(member["certificate"]))
        if problem:
            problems.append(ErrorDetail("InvalidParameter", problem, f"{path}.certificate"))
        elif fingerprints.setdefault(certificate, index) != index:
            message = "Two members have the same certificate."
            problems.append(ErrorDetail("InvalidParameter", message, f"{path}.certificate"))
        problems += _encryption_key_problems(member.get("encryptionkey"), f"{path}.encryptionkey")
        problems += _member_tags_problems(member.get("tags"), f"{path}.tags")
    return problems


def change_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[ErrorDetail]:
    """What a PUT or PATCH wants of a live service that it cannot have here; each problem is a 409.

    An identical value is never a problem: `az resource update` sends the whole object back (control-plane.md 1.5).
    """
    problems = []
    if old["memberIdentityCertificates"] != new["memberIdentityCertificates"]:
        problems.append(_not_allowed(GOVERNANCE_HINT, MEMBERS_PATH))
    if app_source(old) != app_source(new):
        message = "The application is governed inside the service: submit a set_js_app proposal, signed by a member."
        problems.append(_not_allowed(message, "properties.deploymentType.appSourceUri"))
    if old["nodeCount"] != new["nodeCount"]:
        message = "Scaling a service that exists is not offered by this release."
        problems.append(_not_allowed(message, "properties.nodeCount"))
    if old["runningState"] != new["runningState"]:
        message = "Pausing and resuming a service are not offered by this release."
        problems.append(_not_allowed(message, "properties.runningState"))
    if old["enclavePlatform"] != new["enclavePlatform"]:
        message = "The platform of a service cannot change."
        problems.append(_not_allowed(message, "properties.enclavePlatform"))
    return problems


def app_source(desired: Mapping[str, Any]) -> str:
    """Where the application comes from; an empty text is a custom image (control-plane.md 1.3)."""
    return str(desired["deploymentType"]["appSourceUri"]) or CUSTOM_IMAGE


def _not_allowed(message: str, target: str) -> ErrorDetail:
    return ErrorDetail("OperationNotAllowed", message, target)


def _node_count_problems(count: int, allow_single_node: bool) -> list[ErrorDetail]:
    offered = (1, *NODE_COUNTS) if allow_single_node else NODE_COUNTS
    if count in offered:
        return []
    message = f"nodeCount must be one of {', '.join(map(str, offered))}."
    return [ErrorDetail("InvalidParameter", message, "properties.nodeCount")]


def _deployment_problems(desired: Mapping[str, Any]) -> list[ErrorDetail]:
    deployment, problems = desired["deploymentType"], []
    if deployment["languageRuntime"] not in LANGUAGE_RUNTIMES_OFFERED:
        message = f"languageRuntime must be {' or '.join(LANGUAGE_RUNTIMES_OFFERED)}."
        problems.append(ErrorDetail("InvalidParameter", message, "properties.deploymentType.languageRuntime"))
    if app_source(desired) not in APP_SOURCES_OFFERED:
        message = f"appSourceUri must be {' or '.join(APP_SOURCES_OFFERED)} in this release."
        problems.append(ErrorDetail("InvalidParameter", message, "properties.deploymentType.appSourceUri"))
    return problems


def _running_state_problems(state: str) -> list[ErrorDetail]:
    if state in REQUESTABLE_RUNNING_STATES:
        return []
    message = "runningState can be set to Active or Paused only."
    return [ErrorDetail("InvalidParameter", message, "properties.runningState")]


def _read_certificate(pem: str) -> tuple[bytes, str | None]:
    """The certificate's DER, or what is wrong with it."""
    if len(pem) > MAX_PEM_BYTES:
        return b"", f"A certificate has at most {MAX_PEM_BYTES} bytes."
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
        key = certificates[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        return b"", "The certificate is not an X.509 certificate in PEM."
    if len(certificates) != 1:
        return b"", "Give one certificate, not a chain."
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return b"", "The certificate's key must be an elliptic curve or RSA key."
    return certificates[0].public_bytes(Encoding.DER), None


def _encryption_key_problems(pem: Any, path: str) -> list[ErrorDetail]:
    if not pem:
        return []  # a member without a recovery share (control-plane.md 1.3)
    problem = _encryption_key_problem(str(pem))
    return [ErrorDetail("InvalidParameter", problem, path)] if problem else []


def _encryption_key_problem(pem: str) -> str | None:
    if len(pem) > MAX_PEM_BYTES:
        return f"An encryption key has at most {MAX_PEM_BYTES} bytes."
    try:
        is_certificate = "BEGIN CERTIFICATE" in pem
        key: object = (
            x509.load_pem_x509_certificate(pem.encode()).public_key()
            if is_certificate
            else load_pem_public_key(pem.encode())
        )
    except (ValueError, UnsupportedAlgorithm):
        return "The encryption key is not an RSA public key in PEM."
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        return f"The encryption key must be an RSA public key of at least {_MIN_RSA_BITS} bits."
    return None


def _member_tags_problems(tags: Any, path: str) -> list[ErrorDetail]:
    if tags is None or _depth(tags) <= MAX_MEMBER_TAGS_DEPTH:
        return []
    message = f"A member's tags nest at most {MAX_MEMBER_TAGS_DEPTH} levels."
    return [ErrorDetail("InvalidParameter", message, path)]


def _depth(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + max((_depth(child) for child in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(child) for child in value), default=0)
    return 0
