"""Committed transactions of any age: asked for in the loop, fetched and proven in a thread (node-api.md 2.1.2, 5.8).

What was asked for is kept under a handle until it expires, is dropped, or has to make room: handles share a soft limit
in bytes, and the least recently used ones go first, save the one that was fetched last. An entry that cannot be had, or
is not the one that was signed, is never handed out: its request stays unanswered, and the next one tries again, for the
file may have been replaced or mounted meanwhile.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import heappop, heappush
from weakref import WeakValueDictionary

from dataplane.crypto.certs import endorse_service_key
from dataplane.kv.tables import PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, SERVICE_INFO, get_json
from dataplane.node.identity import ServiceIdentity, new_serial
from dataplane.node.prover import Prover, Service, Unproven, Witnessed
from dataplane.past import DEFAULT_EXPIRY_S, PastState
from dataplane.replica import Replica
from dataplane.txid import TxID

_FAILED_PAUSE_S = 0.1  # a client that asks again and again makes a bad chunk be read this often
_LOGGED_ONCE = 100  # failures told apart in the log; the same one is not told twice in a row of as many
_log = logging.getLogger("history")

_Handle = tuple[str, int]


@dataclass(slots=True)
class _Request:
    """What one handle asks for. `found` is None until it is there; times are of the monotonic clock, in seconds."""

    first: int
    last: int
    expires_at: float = 0.0
    retry_at: float = 0.0
    running: bool = False
    found: tuple[Witnessed, ...] | None = None
    size: int = 0


class History:
    """The past of one node's ledger. All calls come from the node's loop."""

    def __init__(
        self,
        replica: Replica,
        prover: Prover,
        service: Callable[[], ServiceIdentity | None],
        soft_limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`soft_limit` in bytes; `service` gives the present identity, for endorsements of earlier ones."""
        self._replica = replica
        self._prover = prover
        self._service = service
        self._soft_limit = soft_limit
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._requests: OrderedDict[_Handle, _Request] = OrderedDict()  # the least recently used first
        self._deadlines: list[tuple[float, _Handle]] = []  # a heap; requests asked for again are later than it says
        self._known: WeakValueDictionary[int, Witnessed] = WeakValueDictionary()
        self._size = 0
        self._issued: dict[tuple[str, str], str] = {}
        self._logged: OrderedDict[str, None] = OrderedDict()

    def state(self, txid: TxID) -> PastState | None:
        """A committed transaction, None while it is being fetched or not to be had."""
        found = self._get(("adapter", txid.seqno), txid.seqno, txid.seqno, DEFAULT_EXPIRY_S)
        return None if found is None else self._past(found[0])

    def states(self, handle: int, first: int, last: int, expiry_s: float) -> Sequence[PastState] | None:
        """The transactions of a range under an application's handle; see `Historical`."""
        found = self._get(("application", handle), first, last, expiry_s)
        return None if found is None else [self._past(witnessed) for witnessed in found]

    def drop(self, handle: int) -> bool:
        """Forget what an application's handle keeps; whether there was anything."""
        return self._forget(("application", handle))

    def close(self) -> None:
        """Let no more work begin; what runs ends by itself."""
        self._requests.clear()
        self._worker.shutdown(wait=False, cancel_futures=True)

    @property
    def size(self) -> int:
        """Estimated memory of all that is kept, in bytes."""
        return self._size

    def _get(self, handle: _Handle, first: int, last: int, expiry_s: float) -> tuple[Witnessed, ...] | None:
        now = self._clock()
        self._expire(now)
        request = self._requests.get(handle)
        if request is None or (request.first, request.last) != (first, last):
            self._forget(handle)
            request = self._requests[handle] = _Request(first, last)
            heappush(self._deadlines, (now + expiry_s, handle))
            self._take_known(handle, request)
        if now + expiry_s < request.expires_at:
            heappush(self._deadlines, (now + expiry_s, handle))
        request.expires_at = now + expiry_s
        self._requests.move_to_end(handle)
        if request.found is None and not request.running and now >= request.retry_at:
            self._start(handle, request)
        return request.found

    def _take_known(self, handle: _Handle, request: _Request) -> None:
        """Entries that another handle keeps need no fetching."""
        found = tuple(self._known.get(seqno) for seqno in range(request.first, request.last + 1))
        if all(found):
            self._keep(handle, request, tuple(witnessed for witnessed in found if witnessed is not None))

    def _start(self, handle: _Handle, request: _Request) -> None:
        replica = self._replica
        commit = replica.raft.commit_seqno
        if request.last > commit:
            return
        tx = replica.store.begin_at_committed()
        info = get_json(tx, SERVICE_INFO)
        if info is None:
            return
        service = Service(info, get_json(tx, PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT))
        signed_at = replica.signature_after(request.last) if request.last >= replica.origin_seqno else None
        request.running = True
        job = asyncio.get_running_loop().run_in_executor(
            self._worker,
            lambda: self._prover.fetch(
                request.first, request.last, signed_at=signed_at, commit=commit, service=service
            ),
        )
        job.add_done_callback(lambda done: self._done(handle, request, done))

    def _done(self, handle: _Handle, request: _Request, done: "asyncio.Future[list[Witnessed]]") -> None:
        request.running = False
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            error = self._forked(done.result())
        if error is not None:
            request.retry_at = self._clock() + _FAILED_PAUSE_S
            self._report(request, error)
        elif self._requests.get(handle) is request:
            self._keep(handle, request, tuple(done.result()))

    def _forked(self, found: Sequence[Witnessed]) -> Unproven | None:
        """Entries that were signed, but in a view that consensus did not choose."""
        for witnessed in found:
            txid = witnessed.entry.txid
            ours = self._replica.txid_at(txid.seqno)
            if txid != ours:
                return Unproven(f"the ledger file holds {txid}, this service {ours}")
        return None

    def _report(self, request: _Request, error: BaseException) -> None:
        if not isinstance(error, Unproven):
            _log.warning("reading seqnos %s to %s failed", request.first, request.last, exc_info=error)
            return
        text = str(error)
        if text not in self._logged:
            _log.warning("seqnos %s to %s cannot be served: %s", request.first, request.last, text)
        self._logged[text] = None
        self._logged.move_to_end(text)
        if len(self._logged) > _LOGGED_ONCE:
            self._logged.popitem(last=False)

    def _keep(self, handle: _Handle, request: _Request, found: tuple[Witnessed, ...]) -> None:
        request.found = found
        request.size = sum(witnessed.entry.size for witnessed in found)
        self._size += request.size
        for witnessed in found:
            self._known[witnessed.entry.txid.seqno] = witnessed
        for other in list(self._requests):
            if self._size <= self._soft_limit:
                return
            if other != handle and self._requests[other].found is not None:
                self._forget(other)

    def _forget(self, handle: _Handle) -> bool:
        request = self._requests.pop(handle, None)
        if request is None:
            return False
        self._size -= request.size
        return True

    def _expire(self, now: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, handle = heappop(self._deadlines)
            request = self._requests.get(handle)
            if request is None:
                continue
            if request.expires_at <= now:
                self._forget(handle)
            else:  # asked for since
                heappush(self._deadlines, (request.expires_at, handle))

    def _past(self, witnessed: Witnessed) -> PastState:
        witness = witnessed.witness
        if not witness.earlier:
            return PastState(witnessed.entry)
        certificate = witness.certificate
        if certificate is None:  # CCF 1.x: nothing tells whose key to endorse
            return PastState(witnessed.entry, cose_endorsements=witness.cose_endorsements)
        return PastState(witnessed.entry, lambda: self._endorse(certificate), witness.cose_endorsements)

    def _endorse(self, earlier_certificate: str) -> tuple[str, ...]:
        """The present service's certificate over an earlier identity, made once for each certificate of both."""
        service = self._service()
        assert service is not None, "only a node of a service has a past"
        key = (earlier_certificate, service.certificate)
        if key not in self._issued:
            self._issued[key] = endorse_service_key(service.key, service.certificate, earlier_certificate, new_serial())
        return (self._issued[key],)
