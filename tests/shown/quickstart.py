"""`make quickstart` from a clean clone, as an unprivileged user with an empty home: exit code and times.

    python -m tests.shown.quickstart [RUNS]

One run fills the package caches, then RUNS (5) are measured, each in a new clone with a new home. The control occupies
the control plane's port first: the quickstart must then end non-zero and say what to do.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.nodes import ROOT, free_port
from tests.support.results import save

NOBODY = 65534
TIMEOUT_S = 400


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the quickstart."""

    exit_code: int
    seconds: float
    output: str

    @property
    def put_to_succeeded_s(self) -> float:
        """What the narration says of creating the instance."""
        match = re.search(r"([0-9.]+)s  instance \w+: three nodes", self.output)
        assert match, self.output
        return float(match[1])


def run(runs: int, directory: Path) -> dict[str, object]:
    """Raises where a run fails, or where the control passes."""
    directory.chmod(0o755)
    cache = directory / "cache"
    cache.mkdir()
    _give_away(cache)
    warm_up = one_run(directory, "warm-up", cache)
    assert warm_up.exit_code == 0, warm_up.output
    found = [one_run(directory, f"run-{number}", cache) for number in range(runs)]
    assert all(one.exit_code == 0 for one in found), [one.output for one in found if one.exit_code]
    _control(directory, cache)
    return {
        "runs": runs,
        "seconds": _summary([one.seconds for one in found]),
        "put_to_succeeded_s": _summary([one.put_to_succeeded_s for one in found]),
        "user": "unprivileged, empty home" if os.getuid() == 0 else "own user, empty home",
        "control": "with the port taken it ends non-zero and says what to do",
    }


def one_run(directory: Path, name: str, cache: Path, port: int | None = None) -> Run:
    """Clone, run, stop everything that was started."""
    home, clone = directory / f"{name}-home", directory / name
    home.mkdir()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    _give_away(home, clone)
    environment = {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(cache),
        "MCCF_PORT": str(port or free_port()),
        **{key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_"))},
    }
    begin = time.monotonic()
    made = _as_nobody(["make", "quickstart", f"PYTHON={_python()}"], clone, environment)
    seconds = time.monotonic() - begin
    if (clone / ".venv/bin/mccf").exists():
        _as_nobody([".venv/bin/mccf", "down", "--nodes"], clone, environment)
    shutil.rmtree(clone)
    return Run(made.returncode, round(seconds, 2), made.stdout)


def _control(directory: Path, cache: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        broken = one_run(directory, "control", cache, int(taken.getsockname()[1]))
    assert broken.exit_code != 0, "the control: the quickstart succeeded on a port that is taken"
    assert "Look into" in broken.output, broken.output


def _as_nobody(command: list[str], cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        **who,  # type: ignore[call-overload]
    )


def _python() -> str:
    """An interpreter that user may run: one below /root is out of reach."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        path = Path(candidate).resolve()
        if path.exists() and not (os.getuid() == 0 and path.is_relative_to("/root")):
            return str(path)
    raise FileNotFoundError("no Python that an unprivileged user may run")


def _give_away(*paths: Path) -> None:
    if os.getuid() == 0:
        for path in paths:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(path)], check=True)


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 2), "max": max(values), "min": min(values)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("quickstart", run(int(sys.argv[1]) if len(sys.argv) > 1 else 5, Path(temporary)))
