"""Beats: they keep this node's place while its event loop is held up.

Scripts run in the loop, for up to their time limit of seconds, and some built-ins of the engine never ask whether it
has passed; elections come sooner. cffi releases the interpreter lock inside the engine, so a thread of its own, with a
loop and connections of its own, can go on meanwhile: it tells peers the view in which this node leads or follows
(`Raft.beats`), which count as contact there. Peers need no such thread to hear them: a loop that is held up itself
reads what has come as soon as it turns again, before it may call anybody silent (`Raft.resume`).

While the loop turns there are no beats: a node that turns, and cannot replicate or be reached, is judged by its
messages. And there are none any more once the loop has stood still past the end of every script's time plus a margin,
so that a node that hangs for good loses its place.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping

from dataplane.node.channels import BEATS, Channels
from dataplane.txid import NodeId

MARGIN_MS = 10_000
"""How much longer than its scripts' limits a loop may be held up: built-ins that never poll take seconds."""

_KIND = 1  # the frames hold messages of consensus, as the node's own do
_log = logging.getLogger("beats")

Address = tuple[str, int]


class Beats:
    """The thread that beats. Between `start` and `close`, the loop calls `turned` often and `publish` on every change.

    `script_deadline()` is the monotonic time (s) at which the script that runs now must end, None where none runs; it
    is called in the thread. `held_up_ms`: after how long without a turn the beats begin; they come at half of it.
    """

    def __init__(
        self,
        *,
        certificate_pem: str,
        key_pem: str,
        source_host: str | None,
        held_up_ms: int,
        script_deadline: Callable[[], float | None],
        margin_ms: int = MARGIN_MS,
    ) -> None:
        self._identity = certificate_pem, key_pem
        self._source_host = source_host
        self._held_up_s = held_up_ms / 1000
        self._script_deadline = script_deadline
        self._margin_s = margin_ms / 1000
        self._beats: Mapping[NodeId, tuple[Address | None, bytes]] = {}
        self._turned_s = self._excused_s = time.monotonic()
        self._began_s = 0.0  # the turn after which the present beats began
        self._gave_up_s = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def close(self) -> None:
        """Stop the thread and close its connections."""
        self._closing = True
        await asyncio.to_thread(self._thread.join)

    def turned(self) -> None:
        """The loop turns."""
        self._turned_s = time.monotonic()

    def publish(self, beats: Mapping[NodeId, tuple[Address | None, bytes]]) -> None:
        """What to send, to whom and where, should the loop be held up from now on."""
        self._beats = beats

    def set_certificate(self, certificate_pem: str, key_pem: str) -> None:
        """Show this certificate on new connections."""
        self._identity = certificate_pem, key_pem

    # In the thread. What the loop writes above is replaced whole, so no lock is needed.

    def _run(self) -> None:
        try:
            asyncio.run(self._beat())
        except Exception:
            _log.exception("beats have ended: scripts that run long may cost this node its place")

    async def _beat(self) -> None:
        identity = self._identity
        channels = Channels(
            certificate_pem=identity[0],
            key_pem=identity[1],
            may_talk=lambda node_id, _: node_id in self._beats,
            address_of=self._address_of,
            on_message=lambda *_: None,
            source_host=self._source_host,
            use=BEATS,
        )
        while not self._closing:
            if identity is not self._identity:
                identity = self._identity
                channels.set_certificate(*identity)
            beats = self._beats
            channels.maintain(beats)
            if self._is_due(time.monotonic()):
                for node_id, (_, payload) in beats.items():
                    channels.send(node_id, _KIND, payload)
            await asyncio.sleep(self._held_up_s / 2)
        await channels.close()

    def _address_of(self, node_id: NodeId) -> Address | None:
        known = self._beats.get(node_id)
        return None if known is None else known[0]

    def _is_due(self, now_s: float) -> bool:
        turned_s = self._turned_s
        if now_s - turned_s < self._held_up_s:
            self._excused_s = turned_s
            return False
        self._excused_s = max(self._excused_s, turned_s, self._script_deadline() or 0.0)
        alive = now_s < self._excused_s + self._margin_s
        if alive and self._began_s != turned_s:
            self._began_s = turned_s
            _log.info("the event loop is held up: beats tell other nodes that this one keeps its place")
        if not alive and self._gave_up_s != turned_s:
            self._gave_up_s = turned_s
            held_up_s = now_s - turned_s
            _log.warning("the event loop has stood still for %.1f s: this node gives its place away", held_up_s)
        return alive
