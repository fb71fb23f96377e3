"""Files the node leaves for its launcher: written whole or not at all (drop-in.md 3.2).

Launchers copy a file as soon as its path exists, so each is written beside its place and renamed into it.
"""

import os
from pathlib import Path


class PidFileExists(Exception):
    """Another node may be running here."""


def write_whole(path: str | Path, content: str, mode: int = 0o644) -> None:
    """Write `content` to `path` in one step; a reader sees nothing or all of it."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    temporary.rename(target)


def claim_pid_file(path: str | Path) -> None:
    """Write our pid; raises `PidFileExists` where the file is there already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise PidFileExists(str(path)) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(str(os.getpid()))
