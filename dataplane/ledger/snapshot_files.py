"""Snapshot files on disk: names, writing one whole, finding the newest (ledger-format.md 5.1).

Only names that end in `.committed` count; a file gets that name when it is complete and on disk. What others put into
the directories is found as well, so they are looked through at every question.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataplane.durable import write_durably

_NAME = re.compile(r"snapshot_([1-9][0-9]{0,18})_([1-9][0-9]{0,18})\.committed", re.ASCII)


class SnapshotName(NamedTuple):
    """What the name of a committed snapshot says; later snapshots are greater."""

    seqno: int
    evidence_seqno: int

    def __str__(self) -> str:
        return f"snapshot_{self.seqno}_{self.evidence_seqno}.committed"


def parse_snapshot_name(name: str) -> SnapshotName | None:
    """Read the name of a committed snapshot; None for every other file, those of CCF 1.x included."""
    match = _NAME.fullmatch(name)
    return None if match is None else SnapshotName(int(match[1]), int(match[2]))


class SnapshotFiles:
    """The snapshots of one node: those it writes in `directory`, and those it finds in `read_only`."""

    def __init__(self, directory: Path, read_only: Sequence[Path] = ()) -> None:
        """Make `directory` if need be; raises `OSError`."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._directories = [directory, *read_only]

    def write(self, name: SnapshotName, parts: Sequence[bytes]) -> Path:
        """Write a snapshot that is complete and vouched for: whole, or not at all under its name.

        Slow, and safe to call in another thread. Raises `OSError`, for a full disk say, and leaves nothing behind.
        """
        target = self._directory / str(name)
        write_durably(target, parts, unfinished=target.with_suffix(""))
        return target

    def newest(self, since: int = 0) -> SnapshotName | None:
        """The newest snapshot later than seqno `since`; empty files are passed over."""
        return next((name for name, path in self._committed() if name.seqno > since and path.stat().st_size), None)

    def path_of(self, name: str) -> Path | None:
        """The file of a committed snapshot by its name, None where there is none."""
        wanted = parse_snapshot_name(name)
        return next((path for found, path in self._committed() if found == wanted), None)

    def usable(self) -> tuple[list[tuple[SnapshotName, Path]], list[str]]:
        """Committed snapshots that hold something, newest first, and the names of those that are empty."""
        found = [(name, path, path.stat().st_size) for name, path in self._committed()]
        return [(name, path) for name, path, size in found if size], [str(name) for name, _, size in found if not size]

    def _committed(self) -> list[tuple[SnapshotName, Path]]:
        found = [
            (name, path)
            for directory in self._directories
            if directory.is_dir()
            for path in directory.iterdir()
            if (name := parse_snapshot_name(path.name)) is not None
        ]
        return sorted(found, reverse=True)
