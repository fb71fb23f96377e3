"""A node's history over a ledger directory, without a node: the replica is a stand-in that knows what was committed."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from dataplane.kv.store import Store
from dataplane.kv.tables import PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, SERVICE_INFO, UNIT_KEY, dump_json
from dataplane.ledger.archive import LedgerArchive
from dataplane.ledger.entry import frame_txid
from dataplane.ledger.files import LedgerFiles
from dataplane.node.history import History
from dataplane.node.identity import ServiceIdentity
from dataplane.node.prover import Prover
from dataplane.txid import TxID
from tests.support.past_services import PresentService

Result = TypeVar("Result")
_DEADLINE_S = 20


class StandInReplica:
    """What history asks of a replica, answered for a ledger that is committed to its end."""

    def __init__(self, service: PresentService, signed: list[int] | None) -> None:
        """`signed`: seqnos of all signatures; None for a node that joined after the end, and knows of none."""
        self._service = service
        self._signed = signed
        self.origin_seqno = 0 if signed is not None else len(service.frames) + 1
        self.raft = SimpleNamespace(commit_seqno=len(service.frames))
        self.store = Store()
        writes = {SERVICE_INFO: {UNIT_KEY: dump_json(service.info)}}
        if service.endorsement is not None:
            writes[PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT] = {UNIT_KEY: dump_json(service.endorsement)}
        self.store.apply(1, dict(writes))
        self.store.compact(1)

    def signature_after(self, seqno: int) -> int | None:
        assert self._signed is not None
        index = bisect_right(self._signed, seqno)
        return self._signed[index] if index < len(self._signed) else None

    def txid_at(self, seqno: int) -> TxID:
        return frame_txid(self._service.frames[seqno - 1])


class HistoryWorld:
    """History over the ledger of `service`, which lies in `directories`; use `run` to be in its loop."""

    def __init__(
        self,
        service: PresentService,
        *directories: Path,
        signed: list[int] | None = None,
        soft_limit: int = 1 << 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replica = StandInReplica(service, signed)
        self.files = LedgerFiles(directories[0])
        self.prover = Prover(LedgerArchive(self.files, directories), service.secrets)
        self.history = History(
            self.replica,  # type: ignore[arg-type]
            self.prover,
            lambda: ServiceIdentity(service.key, service.certificate),
            soft_limit,
            clock,
        )

    def run(self, play: Coroutine[Any, Any, Result]) -> Result:
        """Run a play in a loop of its own, and close everything."""
        try:
            return asyncio.run(play)
        finally:
            self.history.close()
            self.files.close()

    async def eventually(self, ask: Callable[[], Result | None]) -> Result:
        """The first answer, asked for again and again."""
        deadline = time.monotonic() + _DEADLINE_S
        while (answer := ask()) is None:
            assert time.monotonic() < deadline, "history never answered"
            await asyncio.sleep(0.002)
        return answer

    async def never(self, ask: Callable[[], object | None], during_s: float = 0.3) -> None:
        """Assert that no answer comes although it is asked for again and again."""
        deadline = time.monotonic() + during_s
        while time.monotonic() < deadline:
            assert ask() is None, "history answered"
            await asyncio.sleep(0.01)
