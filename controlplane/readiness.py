"""How a part of the control plane says that it is ready: a file with its pid, which a supervisor reads.

The file names the process, so what an earlier one left behind is not mistaken for readiness.
"""

import os
from pathlib import Path

from controlplane.settings import Settings, write_private


def say_ready(settings: Settings, part: str) -> None:
    path = ready_file(settings, part)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, f"{os.getpid()}\n")


def is_ready(settings: Settings, part: str, pid: int) -> bool:
    """Whether the process `pid` said so."""
    path = ready_file(settings, part)
    return path.exists() and path.read_text(encoding="utf-8").strip() == str(pid)


def ready_file(settings: Settings, part: str) -> Path:
    return settings.data_dir / "run" / f"{part}.ready"
