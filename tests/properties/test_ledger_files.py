"""Ledger files under appends, rollbacks, commits and crashes, against a plain list of frames."""

import os
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dataplane.ledger.chunk import parse_name, read_layout
from dataplane.ledger.files import LedgerFiles
from tests.support.frames import frame


class Ledger(RuleBasedStateMachine):
    """The oracle: `frames` is what was appended, the first `synced` of them must survive a crash."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp(prefix="ledger-"))
        self.files = LedgerFiles(self.directory)
        self.frames: list[bytes] = []
        self.synced = self.committed = 0
        self.sizes: dict[int, int] = {}  # by first seqno: bytes of a file that are certainly on disk
        self.view = 2

    @rule(flags=st.sampled_from([0, 0, 0, 1, 2]), size=st.integers(0, 40))
    def append(self, flags: int, size: int) -> None:
        seqno = len(self.frames) + 1
        self.frames.append(frame(seqno, view=self.view, flags=flags, size=size))
        self.files.append(self.frames[-1], seqno)

    @rule()
    def sync(self) -> None:
        self.synced = self.files.sync()
        assert self.synced == len(self.frames)
        self.sizes = {name.first: path.stat().st_size for name, path in self.chunks()}

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.committed = data.draw(st.integers(self.committed, max(self.synced, self.committed)))
        self.files.commit(self.committed)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        seqno = data.draw(st.integers(self.committed, len(self.frames)))
        self.files.truncate(seqno)
        if seqno < len(self.frames):
            self.view += 1
        del self.frames[seqno:]
        self.synced = min(self.synced, seqno)
        self.sizes = {
            name.first: min(self.sizes.get(name.first, 0), path.stat().st_size) for name, path in self.chunks()
        }

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        for chunk in self.files._chunks:
            os.close(chunk.fd)
        for name, path in self.chunks():
            size = path.stat().st_size
            sure = size if name.committed else min(self.sizes.get(name.first, 0), size)
            os.truncate(path, data.draw(st.integers(sure, size)))
        self.files = LedgerFiles(self.directory)
        survived = self.files.last_seqno
        assert self.synced <= survived <= len(self.frames)
        del self.frames[survived:]
        self.sync()

    @invariant()
    def holds_what_was_appended(self) -> None:
        assert self.files.last_seqno == len(self.frames)
        assert self.files.read(1, len(self.frames)) == self.frames
        on_disk = b""
        for name, path in self.chunks():
            data = path.read_bytes()
            layout = read_layout(data)
            assert not name.committed or (layout.complete and (name.last or 0) <= self.committed)
            on_disk += data[8 : layout.end]
        assert on_disk == b"".join(self.frames)

    def chunks(self) -> list[tuple[object, Path]]:
        found = [(parse_name(path.name), path) for path in self.directory.iterdir()]
        return sorted((name, path) for name, path in found if name is not None)

    def teardown(self) -> None:
        self.files.close()
        rmtree(self.directory)


TestLedger = Ledger.TestCase
