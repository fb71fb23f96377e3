"""Files that are whole or absent, and still there after a crash."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_durably(target: Path, parts: Iterable[bytes], unfinished: Path, mode: int = 0o666) -> None:
    """Write `parts` under the name `unfinished`, sync them, and rename that to `target`, in the same directory.

    `mode` is the file's, less the process's mask. Raises `OSError`, for a full disk say, and leaves nothing unfinished
    behind. Where only the sync of the directory failed, `target` is there and whole.
    """
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(target)
        sync_directory(target.parent)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Make names that were added, renamed or removed there last. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
