"""A node whose loop is held up by a script keeps its place, at the election timeout our control plane writes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.settings import Settings
from tests.support.held_up import BUSY, deaf_steps, held_up, place, settled
from tests.support.nodes import NodeProcess, Service, wait_until

pytestmark = [pytest.mark.ci, pytest.mark.xdist_group("nodes")]

_SETTINGS = Settings(data_dir=Path())
_SECONDS = 5.0  # the time limit of scripts


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service.start(
        3,
        tmp_path_factory.mktemp("held_up"),
        open_with=BUSY,
        election_timeout_ms=_SETTINGS.node_election_timeout_ms,
        signature_delay_ms=_SETTINGS.node_signature_delay_ms,
    ) as running:
        yield running


def _backups(service: Service) -> list[NodeProcess]:
    primary = service.primary()
    return [node for node in service.nodes if node is not primary]


def _write(service: Service, node: NodeProcess, text: str) -> None:
    answer = service.session(node).request("PUT", "/app/value", body=text.encode())
    assert answer.status == 204, answer
    assert answer.txid is not None
    service.session(node).wait_for_commit(answer.txid)


def test_an_endless_script_on_the_primary(service: Service) -> None:
    before, primary, backups = settled(service), service.primary(), _backups(service)
    _write(service, primary, "before")
    with held_up(service, [primary], lambda session: session.request("POST", "/app/forever")) as (held,):
        end = time.monotonic() + _SECONDS - 1
        while time.monotonic() < end:
            for node in backups:
                assert service.session(node).request("GET", "/app/value").status == 200
                assert place(service, node) == before
            time.sleep(0.1)
    assert held.seconds > _SECONDS - 0.1
    assert held.answers[0].status == 500
    assert settled(service) == before
    _write(service, primary, "after")


def test_an_endless_script_on_a_backup_while_others_write(service: Service) -> None:
    before, primary = settled(service), service.primary()
    busy, free = _backups(service)
    written = 0
    with held_up(service, [busy], lambda session: session.request("GET", "/app/forever")) as (held,):
        end = time.monotonic() + _SECONDS - 1
        while time.monotonic() < end:
            _write(service, free, f"{written}" + "x" * 10_000)  # more than the sockets on the way can hold
            written += 1
    assert held.seconds > _SECONDS - 0.1
    assert written > 20
    assert settled(service) == before
    _write(service, primary, "caught up")
    wait_until(
        "the busy node to catch up", lambda: service.session(busy).request("GET", "/app/value").body == b"caught up"
    )


def test_endless_scripts_on_both_backups_several_times_over(service: Service) -> None:
    """The primary hears from nobody but through beats; between two scripts each node's loop comes round."""
    before = settled(service)
    with held_up(
        service, _backups(service), lambda session: session.request("GET", "/app/forever"), times=2
    ) as all_held:
        pass
    assert max(held.seconds for held in all_held) > 2 * _SECONDS - 0.2
    assert settled(service) == before


def test_a_built_in_that_never_looks_at_the_clock(service: Service) -> None:
    before, primary = settled(service), service.primary()
    steps = deaf_steps(6.5)
    with held_up(service, [primary], lambda session: session.request("GET", f"/app/deaf?{steps}")) as (held,):
        pass
    assert held.seconds > _SECONDS + 0.5
    assert held.answers[0].status == 500
    assert settled(service) == before


def test_an_endless_ballot(service: Service) -> None:
    before = settled(service)
    member = service.member()
    proposal = member.propose([{"name": "set_user", "args": {"cert": service.users["user0"].certificate.read_text()}}])
    begin = time.monotonic()
    member.vote(proposal["proposalId"], "export function vote() { while (true) {} }")
    assert time.monotonic() - begin > _SECONDS - 0.1
    assert settled(service) == before
