"""How a part of the control plane and its supervisor know of each other.

A part says that it is ready in a file with its pid, so what an earlier one left behind is not mistaken for readiness.
A part that was started by a supervisor ends with it, even if that was killed: otherwise the next supervisor would
find the port taken.
"""

import ctypes
import os
import signal
from pathlib import Path

from controlplane.settings import Settings, write_private

SUPERVISED = "MCCF_SUPERVISED_BY"
"""Environment variable with the supervisor's pid."""
_PR_SET_PDEATHSIG = 1


def end_with_supervisor() -> None:
    """From now on the kernel sends us SIGTERM when the supervisor ends (Linux; survives `exec`)."""
    supervisor = os.environ.get(SUPERVISED)
    if supervisor is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(supervisor):  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)


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
