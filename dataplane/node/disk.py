"""The ledger's duties in their order: truncate, append, sync in a thread, report what is durable.

A failed write, sync or rename leaves the files in an unknown state, so from the first failure on nothing more is
written, and no sync still under way reports anything: what was reported before is on the disk, and that alone counts.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from dataplane.ledger.files import LedgerFailed, LedgerFiles
from dataplane.node.metrics import Counters
from dataplane.replica import Duties


class LedgerDisk:
    """Writes for one replica. `persisted(seqno)` hears what is durable, `lost(error)` once of the first failure.

    `prepare()` is asked when a sync begins, in the loop; what it gives is called in the thread, before the sync.
    """

    def __init__(
        self,
        files: LedgerFiles,
        counters: Counters,
        persisted: Callable[[int], None],
        lost: Callable[[LedgerFailed], None],
        prepare: Callable[[], Callable[[], None]] = lambda: lambda: None,
    ) -> None:
        self._files = files
        self._counters = counters
        self._persisted = persisted
        self._lost = lost
        self._prepare = prepare
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-sync")
        self._syncing = False
        self._sync_again = False
        self._cap: int | None = None  # what a truncation during a sync leaves of its result
        self.failure: LedgerFailed | None = None

    def write(self, duties: Duties) -> bool:
        """Truncate and append, and begin a sync where one is due; False where the ledger is lost."""
        return self._attempt(lambda: self._write(duties))

    def commit(self, seqno: int) -> bool:
        """Everything up to `seqno` is committed; False where the ledger is lost."""
        return self._attempt(lambda: self._files.commit(seqno))

    async def close(self) -> None:
        """Flush and close, after a sync under way. Raises `LedgerFailed` where the flush is the first that fails."""
        try:
            await self._loop.run_in_executor(self._thread, self._files.close)
        finally:
            self._thread.shutdown()

    def _attempt(self, act: Callable[[], None]) -> bool:
        if self.failure is not None:
            return False
        try:
            act()
        except LedgerFailed as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: LedgerFailed) -> None:
        """The ledger has failed, here or where it was read."""
        if self.failure is None:
            self.failure = error
            self._lost(error)

    def _write(self, duties: Duties) -> None:
        if duties.truncate_after is not None:
            self._files.truncate(duties.truncate_after)
            if self._syncing:
                cap = self._cap  # 0 is a cap too: a joiner may lose its whole log
                self._cap = duties.truncate_after if cap is None else min(cap, duties.truncate_after)
        for frame in duties.write:
            self._files.append(frame.data, frame.seqno)
            self._counters.ledger_bytes += len(frame.data)
        self._counters.ledger_entries += len(duties.write)
        if duties.sync:
            self._sync()

    def _sync(self) -> None:
        if self._syncing:
            self._sync_again = True
            return
        self._syncing = True
        self._counters.ledger_syncs += 1
        self._cap = None
        prepared = self._prepare()

        def sync() -> int:
            prepared()
            return self._files.sync()

        self._loop.run_in_executor(self._thread, sync).add_done_callback(self._synced)

    def _synced(self, done: "asyncio.Future[int]") -> None:
        self._syncing = False
        if done.cancelled():
            return
        error = done.exception()
        if self.failure is not None:
            return
        if error is not None:
            self.fail(error if isinstance(error, LedgerFailed) else LedgerFailed(str(error)))
            return
        seqno = done.result()
        self._persisted(seqno if self._cap is None else min(seqno, self._cap))
        if self._sync_again:
            self._sync_again = False
            self._sync()
