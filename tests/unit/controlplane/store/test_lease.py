"""Leases and outcomes: whose turn it is, and whose result counts (decisions 16; architecture.md 5)."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.store import lease, outcome, queries
from tests.support.arm_world import World, world

ERROR = {"code": "NodeStartFailed", "message": "Node 2 did not join."}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        yield started


def instance_id(here: World) -> str:
    with here.database.read() as session:
        instance = queries.instance_by_name(session, "bank")
        assert instance is not None
        return instance.id


def take(here: World, token: str, later_s: float = 0) -> bool:
    with here.database.write() as session:
        return lease.take(session, instance_id(here), token, here.now[0] + timedelta(seconds=later_s), 5_000)


def test_one_holder_until_the_lease_runs_out(here: World) -> None:
    here.make_instance()
    assert take(here, "a")
    assert not take(here, "b")
    assert not take(here, "b", later_s=4.9)
    assert take(here, "b", later_s=5)
    with here.database.write() as session:
        row = instance_id(here)
        assert not lease.renew(session, row, "a", here.now[0], 5_000)
        assert not lease.release(session, row, "a")
        assert not lease.save(session, row, "a", gateway_port=1)
        assert lease.save(session, row, "b", gateway_port=2)
        assert lease.release(session, row, "b")
    assert take(here, "c")


def test_the_sweep_sees_what_is_due_and_free(here: World) -> None:
    here.make_instance()
    row = instance_id(here)

    def due(later_s: float = 0) -> list[str]:
        with here.database.read() as session:
            return list(queries.due_instances(session, here.now[0] + timedelta(seconds=later_s), 10))

    assert due() == [row]
    take(here, "a")
    assert due() == []
    assert due(later_s=5) == [row], "an expired lease is work left lying"
    here.now[0] += timedelta(seconds=6)
    here.settle()
    assert due() == []


def test_a_result_of_an_older_generation_is_dropped(here: World) -> None:
    here.make_instance()
    take(here, "a")
    here.call("DELETE", here.instance_path())
    before = here.rows()
    with here.database.write() as session:
        row = instance_id(here)
        assert not outcome.succeed(session, row, "a", 1, here.now[0], {"app_uri": "https://late"})
        assert not outcome.fail(session, row, "a", 1, here.now[0], ERROR)
        assert not outcome.gone(session, row, "somebody else", here.now[0])
    assert here.rows() == before


def test_a_result_without_the_lease_is_dropped(here: World) -> None:
    here.make_instance()
    take(here, "a")
    take(here, "b", later_s=6)
    before = here.rows()
    with here.database.write() as session:
        assert not outcome.succeed(session, instance_id(here), "a", 1, here.now[0], {})
        assert not outcome.gone(session, instance_id(here), "a", here.now[0])
    assert here.rows() == before


def test_a_live_instance_is_never_gone(here: World) -> None:
    here.make_instance()
    take(here, "a")
    with here.database.write() as session:
        assert not outcome.gone(session, instance_id(here), "a", here.now[0])


def test_a_member_that_cannot_be_deleted_keeps_its_group(here: World) -> None:
    group = here.make_group()
    here.make_instance()
    here.settle()
    deleting = here.call("DELETE", group, version="2024-11-01")
    assert here.call("PUT", here.instance_path("shop"), {"location": "x"}).json()["error"]["code"] == (
        "ResourceGroupBeingDeleted"
    )
    here.settle(error=ERROR)
    status = here.call("GET", deleting.headers["azure-asyncoperation"].partition("?")[0]).json()
    assert (status["status"], status["error"]["code"]) == ("Failed", "NodeStartFailed")
    assert here.call("GET", group, version="2024-11-01").json()["properties"] == {"provisioningState": "Succeeded"}
    assert here.call("GET", deleting.headers["location"].partition("?")[0]).status_code == 409
    assert here.call("DELETE", group, version="2024-11-01").status_code == 202
    here.settle()
    assert here.call("GET", group, version="2024-11-01").status_code == 404


def test_old_operations_are_forgotten(here: World) -> None:
    here.make_instance()
    here.settle()
    with here.database.write() as session:
        queries.forget_operations(session, here.now[0])
        assert len(queries.unfinished_operations(session, instance_id(here))) == 0
        assert queries.operation(session, _operation_id(here)) is not None
        queries.forget_operations(session, here.now[0] + timedelta(seconds=1))
    with here.database.read() as session:
        assert queries.operation(session, _operation_id(here)) is None


def _operation_id(here: World) -> str:
    with here.database.read() as session:
        instance = queries.instance_by_name(session, "bank")
        assert instance is not None
        assert instance.operation_id is not None
        return instance.operation_id
