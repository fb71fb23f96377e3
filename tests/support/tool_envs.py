"""Virtual environments for other people's tools, one each, kept in `.venvs/` of the checkout.

Their dependencies contradict ours and one another's. An environment is made on first use and whenever its requirements
change; test processes that want the same one wait for each other.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shutil import rmtree, which

import pytest

ROOT = Path(__file__).parents[2]

_ENVIRONMENTS = ROOT / ".venvs"
_INSTALL_TIMEOUT_S = 600


def tool_python(name: str, requirements: Sequence[str], python: str = sys.executable) -> Path:
    """The interpreter of the environment `name` with `requirements` installed, made by `python` if need be.

    Raises `subprocess.CalledProcessError` when they cannot be installed.
    """
    directory = _ENVIRONMENTS / name
    wanted = "\n".join([python, *requirements])
    _ENVIRONMENTS.mkdir(exist_ok=True)
    with (_ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = directory / "requirements.txt"
        if not made.exists() or made.read_text() != wanted:
            rmtree(directory, ignore_errors=True)
            _run([python, "-m", "venv", "--without-pip" if _uv() else "--clear", str(directory)])
            interpreter = str(directory / "bin" / "python")
            install = (
                [*_uv(), "pip", "install", "--system-certs", "--python", interpreter]
                if _uv()
                else [interpreter, "-m", "pip", "install"]
            )
            _run([*install, "--quiet", *requirements])
            made.write_text(wanted)  # last, so that a half-made environment is made again
    return directory / "bin" / "python"


@cache
def find_python(version: str) -> str | None:
    """An interpreter of that minor version, None where this machine has none."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    candidates = [which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}*/bin/python3"))]
    return next((str(path) for path in candidates if path is not None and _is_version(str(path), version)), None)


def missing(reason: str) -> None:
    """Skip for want of something on this machine; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _is_version(python: str, version: str) -> bool:
    """A shim of that name may be there and lead nowhere, so it is asked."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() == version


@cache
def _uv() -> tuple[str, ...]:
    answer = subprocess.run([sys.executable, "-m", "uv", "--version"], capture_output=True, check=False)
    return (sys.executable, "-m", "uv") if answer.returncode == 0 else ()


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, timeout=_INSTALL_TIMEOUT_S, capture_output=True, text=True)
