"""Beats between two nodes reduced to their channels: when they come, and when they end."""

import time

import pytest

from dataplane.config import Address
from dataplane.node.beats import Beats
from dataplane.node.channels import MESSAGES, Channels
from tests.support.identities import Identity, node_identity
from tests.support.loops import on_uvloop, until

pytestmark = pytest.mark.ci

SENDER, RECEIVER = node_identity("sender"), node_identity("receiver")
HELD_UP_MS = 40


class World:
    """A receiver in the test's loop, a sender's thread, and what has come."""

    def __init__(self, *, margin_ms: int = 10_000, trusted: bool = True) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.deadline_s: float | None = None
        self.channels = Channels(
            certificate_pem=RECEIVER.certificate_pem,
            key_pem=RECEIVER.key_pem,
            may_talk=lambda node_id, _: trusted and node_id == SENDER.node_id,
            address_of=lambda _: None,
            on_message=lambda sender, _, payload: self.heard.append((sender, payload)),
        )
        self.beats = Beats(
            certificate_pem=SENDER.certificate_pem,
            key_pem=SENDER.key_pem,
            source_host=None,
            held_up_ms=HELD_UP_MS,
            script_deadline=lambda: self.deadline_s,
            margin_ms=margin_ms,
        )

    async def start(self, receiver: Identity = RECEIVER) -> "World":
        bound = await self.channels.listen(Address("127.0.0.1", 0))
        self.beats.publish({receiver.node_id: ((bound.host, bound.port), b"beat")})
        self.beats.start()
        return self

    async def close(self) -> None:
        await self.beats.close()
        await self.channels.close()

    async def turn_for(self, seconds: float) -> None:
        """Let the sender's loop turn for a while."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.beats.turned()
            await pause()

    def sender_is_connected(self) -> bool:
        return any(node_id == SENDER.node_id for node_id, _ in self.channels._incoming)


async def pause() -> None:
    deadline_s = time.monotonic() + 0.005
    await until(lambda: time.monotonic() >= deadline_s, "a moment")


@on_uvloop
async def test_beats_come_only_while_the_loop_stands_still() -> None:
    world = await World().start()
    while not world.sender_is_connected():
        await world.turn_for(0.01)
    await world.turn_for(0.3)
    assert world.heard == []
    await until(lambda: len(world.heard) >= 5, "beats")
    assert set(world.heard) == {(SENDER.node_id, b"beat")}
    await world.turn_for(0.05)
    count = len(world.heard)
    await world.turn_for(0.3)
    assert len(world.heard) == count
    await world.close()


@on_uvloop
async def test_a_loop_that_stands_still_too_long_loses_its_voice() -> None:
    world = await World(margin_ms=200).start()
    began_s = time.monotonic()
    await until(lambda: time.monotonic() > began_s + 0.5, "the margin to pass")
    count = len(world.heard)
    assert count
    await until(lambda: time.monotonic() > began_s + 0.8, "more time to pass")
    assert len(world.heard) == count
    await world.close()


@on_uvloop
async def test_a_running_script_excuses_until_its_deadline_and_the_margin() -> None:
    world = await World(margin_ms=200).start()
    began_s = time.monotonic()
    world.deadline_s = began_s + 0.6
    await until(lambda: time.monotonic() > began_s + 0.6, "the script's time to pass")
    count = len(world.heard)
    await until(lambda: len(world.heard) > count, "beats within the margin")
    await until(lambda: time.monotonic() > began_s + 1.0, "the margin to pass")
    count = len(world.heard)
    await until(lambda: time.monotonic() > began_s + 1.3, "more time to pass")
    assert len(world.heard) == count
    await world.close()


@on_uvloop
async def test_a_stranger_is_not_heard() -> None:
    world = await World(trusted=False).start()
    await world.turn_for(0.1)
    began_s = time.monotonic()
    await until(lambda: time.monotonic() > began_s + 0.3, "some time to pass")
    assert world.heard == []
    await world.close()


@on_uvloop
async def test_another_node_at_the_address_hears_nothing() -> None:
    world = await World().start(node_identity("somebody else"))
    began_s = time.monotonic()
    await until(lambda: time.monotonic() > began_s + 0.3, "some time to pass")
    assert world.heard == []
    await world.close()


@on_uvloop
async def test_beats_leave_the_connection_for_messages_alone() -> None:
    world = await World().start()
    sender = Channels(
        certificate_pem=SENDER.certificate_pem,
        key_pem=SENDER.key_pem,
        may_talk=lambda node_id, _: node_id == RECEIVER.node_id,
        address_of=lambda _: world.beats._beats[RECEIVER.node_id][0],
        on_message=lambda *_: None,
        use=MESSAGES,
    )
    lost: list[str] = []
    sender._on_lost = lost.append
    sender.send(RECEIVER.node_id, 7, b"message")
    await until(lambda: (SENDER.node_id, b"message") in world.heard, "the message")
    await until(lambda: (SENDER.node_id, b"beat") in world.heard, "a beat")
    sender.send(RECEIVER.node_id, 7, b"another")
    await until(lambda: (SENDER.node_id, b"another") in world.heard, "the second message")
    assert lost == []
    await sender.close()
    await world.close()
