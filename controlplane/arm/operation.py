"""Long-running operations as a table (control-plane.md 3.2)."""

from collections.abc import Mapping
from enum import StrEnum


class OperationStatus(StrEnum):
    """`Accepted` and the three verbs mean "keep polling"; clients know the last three as the end."""

    ACCEPTED = "Accepted"
    CREATING = "Creating"
    UPDATING = "Updating"
    DELETING = "Deleting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


class OperationKind(StrEnum):
    CREATE = "Create"
    UPDATE = "Update"
    DELETE = "Delete"
    DELETE_GROUP = "DeleteGroup"


class IllegalTransition(ValueError):
    """The table has no such move."""


TERMINAL = frozenset({OperationStatus.SUCCEEDED, OperationStatus.FAILED, OperationStatus.CANCELED})

TRANSITIONS: Mapping[OperationStatus, frozenset[OperationStatus]] = {
    OperationStatus.ACCEPTED: TERMINAL | {OperationStatus.CREATING, OperationStatus.UPDATING, OperationStatus.DELETING},
    OperationStatus.CREATING: TERMINAL,
    OperationStatus.UPDATING: TERMINAL,
    # A delete that has begun cannot be called back: what is already gone is gone.
    OperationStatus.DELETING: frozenset({OperationStatus.SUCCEEDED, OperationStatus.FAILED}),
    OperationStatus.SUCCEEDED: frozenset(),
    OperationStatus.FAILED: frozenset(),
    OperationStatus.CANCELED: frozenset(),
}

FIRST_STATUS: Mapping[OperationKind, OperationStatus] = {
    OperationKind.CREATE: OperationStatus.CREATING,
    OperationKind.UPDATE: OperationStatus.UPDATING,
    OperationKind.DELETE: OperationStatus.DELETING,
    OperationKind.DELETE_GROUP: OperationStatus.DELETING,
}


def advance(current: OperationStatus, to: OperationStatus) -> OperationStatus:
    """The new status, or `IllegalTransition`. Staying in a status that is not terminal is allowed."""
    if to in TRANSITIONS[current] or (to == current and current not in TERMINAL):
        return to
    raise IllegalTransition(f"operation: {current} to {to}")
