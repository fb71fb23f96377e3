"""What signals do to a node process (node-api.md 6.1)."""

import asyncio
import logging
import signal

import pytest

from dataplane.host.signals import StopSignals


def received(*numbers: signal.Signals, ignore_first_sigterm: bool = False) -> tuple[StopSignals, list[str]]:
    """Signals after the given ones came, and the notices they gave."""
    notices: list[str] = []

    async def run() -> StopSignals:
        signals = StopSignals(ignore_first_sigterm=ignore_first_sigterm)
        signals.tell_notice(lambda: notices.append("stop soon"))
        for number in numbers:
            signal.raise_signal(number)
            await asyncio.sleep(0.01)
        return signals

    return asyncio.run(run()), notices


def test_one_stops_and_another_forces() -> None:
    signals, _ = received(signal.SIGTERM)
    assert (signals.stopping.done(), signals.forced.done()) == (True, False)
    signals, _ = received(signal.SIGTERM, signal.SIGINT)
    assert (signals.stopping.result(), signals.forced.done()) == (None, True)


def test_the_first_sigterm_may_be_a_notice_and_only_that_signal() -> None:
    signals, notices = received(signal.SIGTERM, ignore_first_sigterm=True)
    assert (notices, signals.noticed, signals.stopping.done()) == (["stop soon"], True, False)
    signals, notices = received(signal.SIGTERM, signal.SIGTERM, ignore_first_sigterm=True)
    assert signals.stopping.done()
    assert not signals.forced.done()
    signals, notices = received(signal.SIGHUP, ignore_first_sigterm=True)
    assert signals.stopping.done()
    assert not notices


def test_a_notice_before_there_was_a_node_is_told_when_there_is() -> None:
    async def run() -> list[str]:
        told: list[str] = []
        signals = StopSignals(ignore_first_sigterm=True)
        signals.received(signal.SIGTERM)
        signals.tell_notice(lambda: told.append("late"))
        return told

    assert asyncio.run(run()) == ["late"]


def test_a_hangup_is_logged_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "host"):
        received(signal.SIGHUP)
    assert any("Hangup: " in record.message for record in caplog.records)


def test_a_failure_is_the_last_word() -> None:
    async def run() -> str | None:
        signals = StopSignals(ignore_first_sigterm=False)
        signals.fail("the disk is gone")
        signals.received(signal.SIGTERM)
        return signals.stopping.result()

    assert asyncio.run(run()) == "the disk is gone"
