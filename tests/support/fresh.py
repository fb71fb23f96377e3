"""Which way fresh interpreters are made in a test: new runtimes, or images where the allocator is compiled."""

import os

import pytest

from dataplane.js import memory

WAYS = ("new runtimes", "images")


def need_images() -> None:
    """Skip where nothing compiled the allocator; on the CI machine that is a failure."""
    if memory.is_compiled():
        return
    reason = "dataplane/js/_memory.c is not compiled: install a C compiler and then this package again"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def use(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make fresh interpreters this way until the test ends."""
    if way == "images":
        need_images()
    else:
        monkeypatch.setattr(memory, "_lib", None)
