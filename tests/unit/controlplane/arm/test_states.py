"""The tables of operations and states (control-plane.md 1.3, 1.5, 3.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.arm import operation, provisioning
from controlplane.arm.operation import FIRST_STATUS, OperationKind, OperationStatus
from controlplane.arm.provisioning import ProvisioningState


@given(st.lists(st.sampled_from(list(OperationStatus)), max_size=12))
def test_an_operation_ends_once(moves: list[OperationStatus]) -> None:
    current = OperationStatus.ACCEPTED
    ended = False
    for to in moves:
        try:
            current = operation.advance(current, to)
        except operation.IllegalTransition:
            continue
        assert not ended, "a terminal status was left"
        ended = current in operation.TERMINAL


def test_every_kind_starts_running_and_can_end() -> None:
    for kind in OperationKind:
        first = FIRST_STATUS[kind]
        assert first not in operation.TERMINAL
        assert operation.advance(first, OperationStatus.SUCCEEDED) == "Succeeded"
        assert operation.advance(first, OperationStatus.FAILED) == "Failed"


def test_a_delete_cannot_be_called_back() -> None:
    with pytest.raises(operation.IllegalTransition):
        operation.advance(OperationStatus.DELETING, OperationStatus.CANCELED)


@given(st.lists(st.sampled_from(list(ProvisioningState)), max_size=12))
def test_what_is_being_deleted_never_succeeds(moves: list[ProvisioningState]) -> None:
    current = ProvisioningState.CREATING
    for to in moves:
        try:
            before, current = current, provisioning.advance(current, to)
        except provisioning.IllegalTransition:
            continue
        assert (before, current) != (ProvisioningState.DELETING, ProvisioningState.SUCCEEDED)


def test_every_state_can_be_deleted_but_the_deleting_one() -> None:
    states = set(ProvisioningState) - {ProvisioningState.DELETING, ProvisioningState.UNKNOWN}
    for state in states:
        assert provisioning.advance(state, ProvisioningState.DELETING) == "Deleting"


def test_tables_name_every_state() -> None:
    assert set(operation.TRANSITIONS) == set(OperationStatus)
    assert set(provisioning.TRANSITIONS) == set(ProvisioningState)
