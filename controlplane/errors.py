"""The control plane's error: an ARM code, an HTTP status, and what it is about (control-plane.md 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One of several problems found together; `target` is a JSON path such as `properties.nodeCount`."""

    code: str
    message: str
    target: str | None = None

    def as_json(self) -> dict[str, object]:
        body: dict[str, object] = {"code": self.code, "message": self.message}
        return body if self.target is None else body | {"target": self.target}


@dataclass(eq=False)
class ArmError(Exception):
    """Bad input or a refused request. `code` is contract, `message` is prose and never holds a secret."""

    status: int
    code: str
    message: str
    target: str | None = None
    details: Sequence[ErrorDetail] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def as_json(self) -> dict[str, object]:
        """The value of the body's `error` member."""
        body = ErrorDetail(self.code, self.message, self.target).as_json()
        return body | {"details": [detail.as_json() for detail in self.details]} if self.details else body


def bad_request(code: str, message: str, target: str | None = None) -> ArmError:
    return ArmError(400, code, message, target)


def not_found(code: str, message: str) -> ArmError:
    return ArmError(404, code, message)


def conflict(code: str, message: str, target: str | None = None) -> ArmError:
    return ArmError(409, code, message, target)


def not_offered(operation: str) -> ArmError:
    """An operation the contract names and this release does not have; it says so instead of pretending."""
    return ArmError(501, "NotImplemented", f"The operation '{operation}' is not offered by this release.", operation)
