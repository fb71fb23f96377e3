"""Holding up a node's event loop by a request, and watching what the service makes of it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from dataplane.client.session import Response, Session
from dataplane.js.host import Access
from dataplane.js.interpreter import DEFAULT_LIMITS, call
from tests.support.nodes import ROOT, NodeFault, NodeProcess, Service, wait_until

BUSY = ROOT / "tests" / "support" / "apps" / "busy"
PATIENCE_S = 60.0
_PROBE_STEPS = 20_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a node says of consensus."""

    view: int
    primary_id: str | None


@dataclass(slots=True)
class Held:
    """A request that holds a node up: its answer and how long it took, once it is over."""

    node: NodeProcess
    seconds: float = 0.0
    answers: list[Response] = field(default_factory=list)
    error: BaseException | None = None


def watched(mode: str) -> tuple[str, str]:
    """The program of a node that notes whom it hears; the modes are there."""
    return str(ROOT / "tests" / "support" / "programs" / "watched.py"), mode


def longest_gap_s(node: NodeProcess, peers: Sequence[str], begin_s: float, end_s: float) -> float:
    """The longest time between two contacts of a watched node, ended by now, with each of `peers` (node ids).

    Between two moments of the monotonic clock; what was silent already at the first counts from its last contact.
    """
    heard = [(when_s, peer) for when_s, peer in json.loads((node.directory / "contacts").read_text())]
    longest_s = 0.0
    for peer in peers:
        times_s = [when_s for when_s, sender in heard if sender == peer]
        before = max((when_s for when_s in times_s if when_s <= begin_s), default=begin_s)
        inside = [when_s for when_s in times_s if begin_s < when_s < end_s]
        longest_s = max(longest_s, *(later - earlier for earlier, later in pairwise([before, *inside, end_s])))
    return longest_s


def place(service: Service, node: NodeProcess) -> Place:
    """View and primary as `node` sees them."""
    details = service.session(node).get_json("/node/consensus")["details"]
    return Place(details["current_view"], details["primary_id"])


def settled(service: Service) -> Place:
    """View and primary, once every node alive says the same and knows one."""

    def agree() -> Place | None:
        places = {place(service, node) for node in service.alive()}
        (first, *others) = places
        return first if not others and first.primary_id is not None else None

    return wait_until("one view and one primary everywhere", agree)


@contextmanager
def held_up(
    service: Service, nodes: Sequence[NodeProcess], send: Callable[[Session], Response], *, times: int = 1
) -> Iterator[list[Held]]:
    """`send` to each of `nodes`, `times` at a time; inside, they are being held up; after it, all is answered."""
    all_held = [Held(node) for node in nodes for _ in range(times)]
    threads = [threading.Thread(target=_send, args=(service, held, send)) for held in all_held]
    for thread in threads:
        thread.start()
    time.sleep(0.3)  # the requests have arrived
    try:
        yield all_held
    finally:
        for thread in threads:
            thread.join(PATIENCE_S)
    for held in all_held:
        if held.error is not None or not held.answers:
            raise NodeFault(f"{held.node.name} did not answer: {held.error!r}")


def _send(service: Service, held: Held, send: Callable[[Session], Response]) -> None:
    begin = time.monotonic()
    try:
        with Session(held.node.url, service.certificate, timeout_s=PATIENCE_S) as session:
            held.answers.append(send(session))
    except BaseException as error:
        held.error = error
    held.seconds = time.monotonic() - begin


def deaf_steps(seconds: float) -> int:
    """How many steps the busy application's built-in takes in so many seconds of this machine at its best: at least
    that long, and longer where others want the processor too."""
    return int(_PROBE_STEPS * seconds / min(_probe_s() for _ in range(3)))


def _probe_s() -> float:
    source = {"deaf.js": "export const deaf = (n) => void Array.prototype.reverse.call({ length: n });"}
    begin_s = time.process_time()
    call(
        source.get, "deaf.js", "deaf", [_PROBE_STEPS],
        tx=None, access=Access.GOV_READ_ONLY, limits=DEFAULT_LIMITS, natives={}, console=lambda level, text: None,
    )  # fmt: skip
    return time.process_time() - begin_s
