"""Fetching the ledger from before a joiner's snapshot, chunk by chunk, newest first (node-api.md 2.2.2).

Not the original's: there an operator copies the files. With them a node answers historical queries of any age, and can
serve a follower that lags behind the snapshot. A chunk must be whole and hold what its name says; what its entries are
worth, history proves when it reads them and followers when they take them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from dataplane.config import Address
from dataplane.durable import write_durably
from dataplane.governance.nodes import NodeStatus, nodes_with_status
from dataplane.kv.tx import Tx
from dataplane.ledger.chunk import ChunkName, MalformedChunk, parse_name, read_layout
from dataplane.ledger.entry import frame_txid
from dataplane.ledger.files import LedgerFiles
from dataplane.node.peer_http import PeerFailed, Peers
from dataplane.txid import NodeId

_PAUSE_S = 0.02  # between chunks, as the node has other things to do
_RETRY_S = 5.0
_MAX_CHUNK_BYTES = 1 << 30

_log = logging.getLogger("backfill")


class Backfill:
    """The task of one node. `targets()` gives addresses of nodes that may have chunks, the likeliest first."""

    def __init__(
        self, ledger: LedgerFiles, directory: Path, peers: Peers, targets: Callable[[], Sequence[Address]]
    ) -> None:
        """`directory` is the one the node writes its ledger to."""
        self._ledger = ledger
        self._directory = directory
        self._peers = peers
        self._targets = targets
        self._task: asyncio.Task[None] | None = None

    def start(self, until: int) -> None:
        """Begin to fetch what is missing of the entries up to the seqno `until`."""
        self._task = asyncio.get_running_loop().create_task(self.run(until))

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def run(self, until: int) -> None:
        """Fetch until nothing is missing; trouble with nodes or the disk is logged, and tried again later."""
        complained = False
        while missing := self._ledger.newest_gap(until):
            try:
                await self._fetch(missing)
                complained = False
                await asyncio.sleep(_PAUSE_S)
            except (PeerFailed, OSError) as error:
                if not complained:
                    _log.info("The ledger up to seqno %s cannot be fetched now: %s", missing, error)
                complained = True
                await asyncio.sleep(_RETRY_S)
        _log.info("The ledger is complete from its first transaction")

    async def _fetch(self, seqno: int) -> None:
        """The chunk that holds `seqno`, from the first node that has it. Raises `PeerFailed` or `OSError`."""
        failure = PeerFailed("no other node is known")
        for target in self._targets():
            try:
                _, path, answer = await self._peers.get(
                    target, f"/node/ledger-chunk?since={seqno}", max_bytes=_MAX_CHUNK_BYTES
                )
                if answer.status != 200:
                    raise PeerFailed(f"{target} answered with status {answer.status}")
                name = await asyncio.to_thread(_checked, path.rpartition("/")[2], answer.body, seqno)
            except PeerFailed as error:
                failure = error
                continue
            chunk = self._directory / str(name)
            await asyncio.to_thread(write_durably, chunk, [answer.body], chunk.with_name(f"{chunk.name}.part"))
            return
        raise failure


def addresses(tx: Tx, own_id: NodeId, first: Address) -> list[Address]:
    """Where nodes of the service answer: at `first`, then the trusted ones but `own_id`, each at one interface."""
    found = [first]
    for node_id, record in nodes_with_status(tx, NodeStatus.TRUSTED).items():
        interfaces = record["rpc_interfaces"]
        host, _, port = interfaces[min(interfaces)]["published_address"].rpartition(":")
        address = Address(host, int(port))
        if node_id != own_id and address != first:
            found.append(address)
    return found


def _checked(text: str, data: bytes, seqno: int) -> ChunkName:
    """The name of a chunk that holds `seqno`, and what its name says. Raises `PeerFailed`."""
    name = parse_name(text)
    if name is None or name.last is None or name.recovery or not name.first <= seqno <= name.last:
        raise PeerFailed(f"{text!r} is no committed chunk with seqno {seqno}")
    try:
        layout = read_layout(data)
        bounds = [layout.bounds(index) for index in range(len(layout.positions))]
        seqnos = [frame_txid(data[start:end]).seqno for start, end in bounds]
    except (MalformedChunk, ValueError) as error:
        raise PeerFailed(f"the chunk {text} is damaged: {error}") from error
    if not layout.complete or seqnos != list(range(name.first, name.last + 1)):
        raise PeerFailed(f"the chunk {text} does not hold what its name says")
    return name
