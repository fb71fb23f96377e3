"""Where the control plane lives and what it offers, read once at start (`settings.json`, then `MCCF_*`).

Every setting has a default, so that an empty data directory is a working installation. The file keeps what must
not change between starts (tenant and subscription ids); the environment overrides it, key by key.
"""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

SETTINGS_FILE = "settings.json"
ENVIRONMENT_PREFIX = "MCCF_"


class InvalidSettings(ValueError):
    """A setting is unknown or its value cannot be read; the message names the setting, never a secret value."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation. Lengths of time are in milliseconds unless the name says otherwise."""

    data_dir: Path
    tenant_id: str = "00000000-0000-0000-0000-000000000000"
    subscription_id: str = "00000000-0000-0000-0000-000000000000"
    host: str = "127.0.0.1"
    port: int = 8443
    public_url: str = ""
    """What clients call us, without a trailing slash; empty means `https://localhost:<port>`."""
    database_url: str = ""
    """An SQLAlchemy URL; empty means SQLite inside the data directory."""
    broker_url: str = ""
    """A Redis URL; empty means the private broker inside the data directory."""
    backend: str = "process"
    location: str = "southcentralus"
    """The default region, which resource groups and status URLs fall back to."""
    locations: tuple[str, ...] = ("southcentralus", "westeurope")
    """The regions offered, normalised (control-plane.md 1.3)."""
    zones: tuple[str, ...] = ("zone-1", "zone-2", "zone-3")
    """The failure domains nodes are spread over (decisions 18)."""
    instance_host: str = "127.0.0.1"
    """The address that gateways listen on; it is the host of every `appUri`."""
    node_chunk_size: str = "5MB"
    """What a node's configuration says for `ledger.chunk_size` (node-api.md 6.2), as the three below for theirs."""
    node_election_timeout_ms: int = 1_000
    node_message_timeout_ms: int = 100
    node_signature_delay_ms: int = 100
    allow_single_node: bool = False
    """Developer setting: `nodeCount` 1 is accepted too (decisions 18)."""
    lease_ms: int = 15_000
    sweep_interval_ms: int = 1_000
    retry_after_s: int = 1
    """`Retry-After` of every answer about an operation still running (control-plane.md 3.1)."""
    token_lifetime_s: int = 3_600
    reads_per_hour: int = 12_000
    writes_per_hour: int = 1_200
    deletes_per_hour: int = 15_000
    """Limits per caller, answered with 429 beyond them (control-plane.md 4.5)."""
    operation_retention_h: int = 48
    """Finished operations are kept at least this long (control-plane.md 3.2 asks for 24 h)."""

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'mccf.db'}"

    @property
    def base_url(self) -> str:
        return (self.public_url or f"https://localhost:{self.port}").rstrip("/")

    @property
    def tls_dir(self) -> Path:
        """The private CA (`ca.pem`, `ca_key.pem`) and the API's certificate (`server.pem`, `server_key.pem`)."""
        return self.data_dir / "tls"

    @property
    def ca_file(self) -> Path:
        return self.tls_dir / "ca.pem"

    @property
    def issuer_keys_file(self) -> Path:
        return self.data_dir / "issuer" / "keys.json"

    @property
    def credentials_file(self) -> Path:
        """The first principal's id and secret, 0600; the only place where the secret exists."""
        return self.data_dir / "credentials.json"

    @property
    def instances_dir(self) -> Path:
        """One directory per instance: node configurations, ledgers, logs."""
        return self.data_dir / "instances"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """`$MCCF_DATA_DIR`, else `$XDG_DATA_HOME/mccf`, else `~/.local/share/mccf`."""
    if "MCCF_DATA_DIR" in environ:
        return Path(environ["MCCF_DATA_DIR"]).absolute()
    data_home = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".local/share")
    return Path(data_home).absolute() / "mccf"


def load(environ: Mapping[str, str], data_dir: Path | None = None) -> Settings:
    """The settings of an installation: defaults, then its file, then the environment. Raises `InvalidSettings`."""
    directory = (data_dir or default_data_dir(environ)).absolute()
    settings = Settings(data_dir=directory)
    settings = _override(settings, _stored(directory / SETTINGS_FILE))
    return _override(settings, _from_environment(environ))


def initialise(environ: Mapping[str, str], data_dir: Path | None = None) -> Settings:
    """Like `load`, and on first start makes the directory (0700) and fixes tenant and subscription ids in the file."""
    directory = (data_dir or default_data_dir(environ)).absolute()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / SETTINGS_FILE
    if not path.exists():
        identity = {"tenant_id": str(uuid.uuid4()), "subscription_id": str(uuid.uuid4())}
        write_private(path, json.dumps(identity, indent=2) + "\n")
    return load(environ, directory)


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file whole or not at all; a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _stored(path: Path) -> dict[str, object]:
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidSettings(f"{path.name} is not JSON") from error
    if not isinstance(values, dict):
        raise InvalidSettings(f"{path.name} must hold an object")
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    known = {ENVIRONMENT_PREFIX + field.name.upper(): field.name for field in fields(Settings)}
    return {name: environ[key] for key, name in known.items() if key in environ and name != "data_dir"}


def _override(settings: Settings, values: Mapping[str, object]) -> Settings:
    kinds = {field.name: type(getattr(settings, field.name)) for field in fields(Settings)}
    unknown = sorted(set(values) - (set(kinds) - {"data_dir"}))
    if unknown:
        raise InvalidSettings(f"unknown setting: {', '.join(unknown)}")
    return replace(settings, **{name: _read(name, value, kinds[name]) for name, value in values.items()})  # type: ignore[arg-type]


def _read(name: str, value: object, kind: type) -> object:
    if kind is bool:
        return _read_bool(name, value)
    if kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
            raise InvalidSettings(f"{name} must be a list of names")
        return tuple(part.strip() for part in parts)
    if kind is int and isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if type(value) is not kind:
        raise InvalidSettings(f"{name} must be of type {kind.__name__}")
    return value


def _read_bool(name: str, value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise InvalidSettings(f"{name} must be true or false")
