"""A write that fails, and a write that fails but took effect (architecture.md 5, 10)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from tests.support.arm_world import World, instance_body, world

ATTEMPT = {"x-ms-client-request-id": "one attempt"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as started:
        started.make_group()
        yield started


@contextmanager
def failing(here: World, moment: str) -> Iterator[None]:
    """The next commit raises: `before` it happens, or `after` it did and only the news of it is lost."""
    dialect = here.database.engine.dialect
    real = dialect.do_commit

    def commit(connection: Any) -> None:
        if moment == "after":
            real(connection)
        raise ConnectionError("the database went away")

    dialect.do_commit = commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        dialect.do_commit = real  # type: ignore[method-assign]


def operations(here: World) -> int:
    return len(here.rows()["operations"])


def test_a_put_that_could_not_be_stored_leaves_nothing(here: World) -> None:
    before = here.rows()
    with failing(here, "before"):
        answer = here.call("PUT", here.instance_path(), instance_body(), headers=ATTEMPT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "InternalServerError")
    assert "database went away" not in answer.text
    assert here.rows() == before
    assert here.hints == []
    assert here.call("PUT", here.instance_path(), instance_body(), headers=ATTEMPT).status_code == 201
    assert operations(here) == 1


def test_a_put_that_was_stored_although_it_failed_is_found_by_its_repetition(here: World) -> None:
    with failing(here, "after"):
        assert here.call("PUT", here.instance_path(), instance_body(), headers=ATTEMPT).status_code == 500
    assert operations(here) == 1
    stored = here.rows()
    again = here.call("PUT", here.instance_path(), instance_body(), headers=ATTEMPT)
    assert (again.status_code, again.json()["properties"]["provisioningState"]) == (201, "Creating")
    assert here.rows() == stored, "the repetition starts nothing of its own"
    assert len(here.hints) == 1
    here.settle()
    last = here.call("PUT", here.instance_path(), instance_body(), headers=ATTEMPT)
    assert last.json()["properties"]["provisioningState"] == "Succeeded"
    assert operations(here) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_patch_either_way(here: World, moment: str) -> None:
    here.make_instance()
    here.settle()
    before = here.rows()
    with failing(here, moment):
        assert here.call("PATCH", here.instance_path(), {"tags": {"n": "1"}}).status_code == 500
    assert (here.rows() == before) is (moment == "before")
    assert here.call("PATCH", here.instance_path(), {"tags": {"n": "1"}}).json()["tags"] == {"n": "1"}
    assert operations(here) == 2, "one for the PUT and one for the change, which happened once"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_delete_either_way(here: World, moment: str) -> None:
    here.make_instance()
    here.settle()
    before = here.rows()
    with failing(here, moment):
        assert here.call("DELETE", here.instance_path()).status_code == 500
    assert (here.rows() == before) is (moment == "before")
    assert here.call("DELETE", here.instance_path()).status_code == 202
    assert operations(here) == 2
    here.settle()
    assert here.call("DELETE", here.instance_path()).status_code == 204


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_group_either_way(here: World, moment: str) -> None:
    path = here.make_group("rg2")
    with failing(here, moment):
        assert here.call("DELETE", path, version="2024-11-01").status_code == 500
    repeated = here.call("DELETE", path, version="2024-11-01")
    assert repeated.status_code == (200 if moment == "before" else 404)
    with failing(here, moment):
        assert here.call("PUT", path, {"location": "westeurope"}, "2024-11-01").status_code == 500
    repeated = here.call("PUT", path, {"location": "westeurope"}, "2024-11-01")
    assert repeated.status_code == (201 if moment == "before" else 200)


@pytest.mark.parametrize("what", ["instance", "group"])
def test_a_name_taken_between_look_and_commit_is_looked_at_again(here: World, what: str) -> None:
    dialect = here.database.engine.dialect
    real = dialect.do_commit
    failures = [IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))]

    def commit(connection: Any) -> None:
        if failures:
            raise failures.pop()
        real(connection)

    path = here.instance_path() if what == "instance" else here.make_group("rg3").replace("rg3", "rg4")
    dialect.do_commit = commit  # type: ignore[method-assign]
    body = instance_body() if what == "instance" else {"location": "westeurope"}
    assert here.call("PUT", path, body).status_code == 201
    assert failures == []
    assert operations(here) == (1 if what == "instance" else 0)


def test_a_hint_that_cannot_be_sent_fails_nothing(tmp_path: Path) -> None:
    def refuse(_id: str) -> None:
        raise ConnectionError("no broker")

    with world(tmp_path, notify=refuse) as here:
        assert here.make_instance().status_code == 201
        assert operations(here) == 1


def test_two_writers_of_one_name_make_one_instance(here: World) -> None:
    """Two identical requests at once: both are answered 201 by the same operation."""
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(here.call, "PUT", here.instance_path(), instance_body()) for _ in range(4)]
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.headers["azure-asyncoperation"] for answer in answers}) == 1
    assert operations(here) == 1
