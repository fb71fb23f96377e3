"""`provisioningState` and `runningState` as tables (control-plane.md 1.3, 1.5, 1.7)."""

from collections.abc import Mapping
from enum import StrEnum


class ProvisioningState(StrEnum):
    UNKNOWN = "Unknown"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"
    CREATING = "Creating"
    DELETING = "Deleting"
    UPDATING = "Updating"


class RunningState(StrEnum):
    ACTIVE = "Active"
    PAUSED = "Paused"
    UNKNOWN = "Unknown"
    PAUSING = "Pausing"
    RESUMING = "Resuming"


class IllegalTransition(ValueError):
    """The table has no such move."""


TERMINAL = frozenset({ProvisioningState.SUCCEEDED, ProvisioningState.FAILED, ProvisioningState.CANCELED})

_OUTCOMES = TERMINAL | {ProvisioningState.DELETING}  # a delete cancels whatever is running

TRANSITIONS: Mapping[ProvisioningState, frozenset[ProvisioningState]] = {
    ProvisioningState.UNKNOWN: frozenset({ProvisioningState.CREATING}),
    ProvisioningState.CREATING: _OUTCOMES,
    ProvisioningState.UPDATING: _OUTCOMES,
    ProvisioningState.SUCCEEDED: frozenset({ProvisioningState.UPDATING, ProvisioningState.DELETING}),
    ProvisioningState.FAILED: frozenset(
        {ProvisioningState.CREATING, ProvisioningState.UPDATING, ProvisioningState.DELETING}
    ),
    ProvisioningState.CANCELED: frozenset(
        {ProvisioningState.CREATING, ProvisioningState.UPDATING, ProvisioningState.DELETING}
    ),
    # A finished delete leaves no state behind: the resource is gone.
    ProvisioningState.DELETING: frozenset({ProvisioningState.FAILED}),
}

# What a client may ask for; the others are ours to say (control-plane.md 1.7).
REQUESTABLE_RUNNING_STATES = frozenset({RunningState.ACTIVE, RunningState.PAUSED})


def advance(current: ProvisioningState, to: ProvisioningState) -> ProvisioningState:
    """The new state, or `IllegalTransition`."""
    if to in TRANSITIONS[current]:
        return to
    raise IllegalTransition(f"provisioningState: {current} to {to}")
