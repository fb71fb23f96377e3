"""Hints never delay or fail a request (decisions 16)."""

import threading
import time

import pytest

from controlplane.api.hints import MAX_WAITING, Hints

TIMEOUT_S = 10


def test_hints_are_sent_in_order_and_before_the_end() -> None:
    sent: list[str] = []
    hints = Hints(sent.append)
    hints.start()
    for name in ("a", "b", "c"):
        hints.notify(name)
    hints.stop(TIMEOUT_S)
    assert sent == ["a", "b", "c"]


def test_a_broker_that_hangs_delays_nobody() -> None:
    released = threading.Event()
    hints = Hints(lambda _id: released.wait(TIMEOUT_S) and None)
    hints.start()
    started_s = time.monotonic()
    for number in range(MAX_WAITING + 100):
        hints.notify(str(number))
    hints.stop(0.01)
    assert time.monotonic() - started_s < TIMEOUT_S / 2
    released.set()
    hints.stop(TIMEOUT_S)


def test_a_broker_that_fails_is_tried_again_with_the_next(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[str] = []

    def send(instance_id: str) -> None:
        if instance_id == "bad":
            raise ConnectionError("redis://user:secret@host")
        sent.append(instance_id)

    hints = Hints(send)
    hints.start()
    hints.notify("bad")
    hints.notify("good")
    hints.stop(TIMEOUT_S)
    assert sent == ["good"]
    assert "ConnectionError" in caplog.text
    assert "secret" not in caplog.text
