"""A node's configuration: CCF's JSON, typed, with its units (node-api.md 6.2, drop-in.md 3.3).

Pure: takes the parsed JSON and gives values; files named in it are read by the host. Unknown keys are errors that name
their path, except inside an RPC interface, where they are kept and echoed (node-api.md 1.7). What the contract knows
and this node does not serve is refused by name. Sizes are powers of 1024, times become milliseconds.

Over 400 lines, as one document is read here: its types, then one function for each section.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from dataplane.redirections import InvalidRedirections, Redirections, parse_redirections

_SIZES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_TIMES_MS = {"us": 0.001, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_QUANTITY = re.compile(r"\s*([0-9]+)\s*([A-Za-z]*)\s*", re.ASCII)

# Sections that tune the original's memory layout or platforms; accepted so that its files work, without effect here.
_WITHOUT_EFFECT = (
    "enclave", "worker_threads", "slow_io_logging_threshold", "node_to_node_message_limit",
    "attestation",
)  # fmt: skip
_MEMORY_WITHOUT_EFFECT = ("circuit_size", "max_fragment_size")


class ConfigError(ValueError):
    """The configuration cannot be used; the text begins with the path of what is wrong."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path


class Authority(StrEnum):
    """Who endorses the certificate an interface presents (node-api.md 1.5)."""

    NODE = "Node"
    SERVICE = "Service"
    UNSECURED = "Unsecured"


class Curve(StrEnum):
    """The curve of a node's key."""

    SECP384R1 = "Secp384R1"
    SECP256R1 = "Secp256R1"


class RecoveryRole(StrEnum):
    """What a member does in a recovery (node-api.md 4.2)."""

    NON_PARTICIPANT = "NonParticipant"
    PARTICIPANT = "Participant"
    OWNER = "Owner"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of one interface's HTTP parser, in bytes."""

    max_body_size: int = 1 << 20
    max_header_size: int = 16 << 10
    max_headers_count: int = 256


@dataclass(frozen=True, slots=True)
class Interface:
    """An RPC interface. `document` is its configured JSON, word for word, for echoing."""

    name: str
    bind: Address
    published: Address
    authority: Authority
    http: HttpLimits
    max_open_sessions_soft: int
    max_open_sessions_hard: int
    forwarding_timeout_ms: int
    accepted_endpoints: tuple[str, ...] | None
    document: Mapping[str, object]
    redirections: Redirections | None = None  # None: requests are forwarded


@dataclass(frozen=True, slots=True)
class MemberFiles:
    """One initial member, by the files that describe it."""

    certificate_file: str
    encryption_public_key_file: str | None
    data_json_file: str | None
    recovery_role: RecoveryRole | None


@dataclass(frozen=True, slots=True)
class ServiceConfiguration:
    """`recovery_threshold` 0 means: as many as there are participants with keys."""

    recovery_threshold: int = 0
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365


@dataclass(frozen=True, slots=True)
class StartCommand:
    """Begin a new service."""

    members: tuple[MemberFiles, ...]
    constitution_files: tuple[str, ...]
    service_configuration: ServiceConfiguration
    initial_service_certificate_validity_days: int
    service_subject_name: str
    cose_issuer: str
    cose_subject: str


@dataclass(frozen=True, slots=True)
class JoinCommand:
    """Join an existing service through one of its nodes."""

    target_rpc_address: Address
    retry_timeout_ms: int
    follow_redirect: bool
    fetch_recent_snapshot: bool = True
    fetch_snapshot_max_attempts: int = 3
    fetch_snapshot_retry_interval_ms: int = 1000
    fetch_snapshot_max_size: int = 10 << 30  # bytes
    fetch_ledger: bool = False  # ours: after a snapshot, fetch the chunks from before it as well


@dataclass(frozen=True, slots=True)
class RecoverCommand:
    """Recover a service from its ledger. The sealed secret is the one a node of that service left, if any."""

    previous_service_identity_file: str
    initial_service_certificate_validity_days: int
    previous_sealed_ledger_secret_location: str | None


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """What the node's own certificate says. `subject_alt_names` entries are `iPAddress:…` or `dNSName:…`."""

    subject_name: str = "CN=CCF Node"
    subject_alt_names: tuple[str, ...] = ()
    initial_validity_days: int = 1
    curve: Curve = Curve.SECP384R1


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """Names of the files a node writes, relative to its working directory."""

    node_certificate_file: str = "nodecert.pem"
    pid_file: str = "node.pid"
    node_to_node_address_file: str = ""
    rpc_addresses_file: str = ""
    sealed_ledger_secret_location: str | None = None  # a directory


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a node is told when it starts."""

    node_to_node_bind: Address
    node_to_node_published: Address
    interfaces: tuple[Interface, ...]
    command: StartCommand | JoinCommand | RecoverCommand
    service_certificate_file: str
    node_certificate: NodeCertificate
    node_data_json_file: str | None
    service_data_json_file: str | None
    ledger_directory: str
    ledger_read_only: tuple[str, ...]
    snapshot_directory: str
    snapshot_read_only_directory: str | None
    snapshot_tx_count: int
    chunk_size: int
    election_timeout_ms: int
    message_timeout_ms: int
    pre_vote: bool  # ours: ask before campaigning
    max_uncommitted_tx_count: int
    max_message_bytes: int
    """The largest transaction (`memory.max_msg_size`): more stops the node, as it stops the original."""
    signature_tx_count: int
    signature_delay_ms: int
    tick_interval_ms: int
    idle_connection_timeout_ms: int
    jwt_key_refresh_interval_ms: int
    client_connection_timeout_ms: int
    node_client_interface: str | None
    output_files: OutputFiles
    log_format: str
    ignore_first_sigterm: bool
    historical_cache_soft_limit: int  # bytes


def parse_config(document: object) -> Config:
    """The typed configuration. Raises `ConfigError` naming the first thing that is wrong."""
    top = _Section("", document)
    for name in _WITHOUT_EFFECT:
        top.take(name, None)
    network = top.section("network")
    node_to_node = network.section("node_to_node_interface")
    bind = _address(node_to_node.path, node_to_node.text("bind_address"))
    published = node_to_node.text("published_address", "")
    node_to_node.done()
    interfaces = tuple(_interface(section) for section in network.sections("rpc_interfaces"))
    if not interfaces:
        raise ConfigError("network.rpc_interfaces", "at least one interface is needed")
    network.done()
    command = top.section("command")
    service_certificate_file = command.text("service_certificate_file", "service_cert.pem")
    ledger, consensus = top.section("ledger", {}), top.section("consensus", {})
    snapshots = top.section("snapshots", {})
    signatures, logging = top.section("ledger_signatures", {}), top.section("logging", {})
    jwt, memory = top.section("jwt", {}), top.section("memory", {})
    logging.take("host_level", None)
    for name in _MEMORY_WITHOUT_EFFECT:
        memory.take(name, None)
    config = Config(
        node_to_node_bind=bind,
        node_to_node_published=_address(node_to_node.path, published) if published else bind,
        interfaces=interfaces,
        command=_command(command),
        service_certificate_file=service_certificate_file,
        node_certificate=_node_certificate(top.section("node_certificate", {})),
        node_data_json_file=top.optional_text("node_data_json_file"),
        service_data_json_file=top.optional_text("service_data_json_file"),
        ledger_directory=ledger.text("directory", "ledger"),
        ledger_read_only=ledger.texts("read_only_directories", []),
        snapshot_directory=snapshots.text("directory", "snapshots"),
        snapshot_read_only_directory=snapshots.optional_text("read_only_directory"),
        snapshot_tx_count=snapshots.number("tx_count", 10_000, 1),
        chunk_size=ledger.size("chunk_size", "5MB", 1, (1 << 32) - 1),
        election_timeout_ms=consensus.time_ms("election_timeout", "5000ms"),
        message_timeout_ms=consensus.time_ms("message_timeout", "100ms"),
        pre_vote=consensus.flag("pre_vote", False),
        max_uncommitted_tx_count=consensus.number("max_uncommitted_tx_count", 10_000, 0),
        max_message_bytes=memory.size("max_msg_size", "64MB", 1, (1 << 63) - 1),
        signature_tx_count=signatures.number("tx_count", 5_000, 1),
        signature_delay_ms=signatures.time_ms("delay", "1000ms"),
        tick_interval_ms=max(1, top.time_ms("tick_interval", "10ms", 0)),
        idle_connection_timeout_ms=top.time_ms("idle_connection_timeout", "60s"),
        jwt_key_refresh_interval_ms=jwt.time_ms("key_refresh_interval", "30min"),
        client_connection_timeout_ms=top.time_ms("client_connection_timeout", "2000ms"),
        node_client_interface=top.optional_text("node_client_interface"),
        output_files=_output_files(top.section("output_files", {})),
        log_format=logging.choice("format", "Text", ("Text", "Json")),
        ignore_first_sigterm=top.flag("ignore_first_sigterm", False),
        historical_cache_soft_limit=top.size("historical_cache_soft_limit", "512MB", 0, (1 << 63) - 1),
    )
    for section in (ledger, snapshots, consensus, signatures, logging, jwt, memory, top):
        section.done()
    return config


def parse_size(text: str | int, path: str = "") -> int:
    """Bytes from `5MB`, `20KB` or `1048576`; powers of 1024."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match[2].upper() not in _SIZES:
        raise ConfigError(path, f"{text!r} is not a size such as 5MB")
    return int(match[1]) * _SIZES[match[2].upper()]


def parse_time_ms(text: str, path: str = "") -> int:
    """Milliseconds, rounded up, from `100ms`, `5s`, `10us`, `1min` or `1h`."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match[2] not in _TIMES_MS:
        raise ConfigError(path, f"{text!r} is not a time such as 100ms")
    exact = int(match[1]) * _TIMES_MS[match[2]]
    return int(exact) + (exact > int(exact))


class _Section:
    """One JSON object, read key by key; `done` complains about what nobody read."""

    def __init__(self, path: str, document: object) -> None:
        if not isinstance(document, Mapping):
            raise ConfigError(path, "must be an object")
        self.path = path
        self._left: dict[str, Any] = dict(document)

    def take(self, name: str, default: object = ...) -> Any:
        if name not in self._left and default is ...:
            raise ConfigError(self.at(name), "is missing")
        return self._left.pop(name, default)

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def section(self, name: str, default: object = ...) -> "_Section":
        return _Section(self.at(name), self.take(name, default))

    def sections(self, name: str) -> list["_Section"]:
        whole = self.section(name)
        return [_Section(whole.at(key), value) for key, value in whole._left.items()]

    def text(self, name: str, default: object = ...) -> str:
        return cast(str, self._typed(name, default, str, "must be a text"))

    def optional_text(self, name: str) -> str | None:
        value = self.take(name, None)
        if value is not None and not isinstance(value, str):
            raise ConfigError(self.at(name), "must be a text or null")
        return value or None

    def texts(self, name: str, default: object = ...) -> tuple[str, ...]:
        value = self._typed(name, default, list, "must be a list of texts")
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(self.at(name), "must be a list of texts")
        return tuple(value)

    def items(self, name: str) -> list[Any]:
        return cast(list[Any], self._typed(name, ..., list, "must be a list"))

    def flag(self, name: str, default: bool) -> bool:
        return cast(bool, self._typed(name, default, bool, "must be true or false"))

    def number(self, name: str, default: int, least: int, most: int = (1 << 63) - 1) -> int:
        value = self.take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigError(self.at(name), f"must be a number from {least} to {most}")
        return value

    def size(self, name: str, default: str, least: int, most: int) -> int:
        value = parse_size(self.take(name, default), self.at(name))
        if not least <= value <= most:
            raise ConfigError(self.at(name), f"must be from {least} to {most} bytes")
        return value

    def time_ms(self, name: str, default: str, least: int = 1) -> int:
        value = parse_time_ms(self.take(name, default), self.at(name))
        if value < least:
            raise ConfigError(self.at(name), f"must be at least {least} ms")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.take(name, default)
        if value not in choices:
            raise ConfigError(self.at(name), f"must be one of {', '.join(choices)}")
        return cast(str, value)

    def done(self) -> None:
        if self._left:
            raise ConfigError(self.at(min(self._left)), "is not a known setting")

    def _typed(self, name: str, default: object, kind: type, complaint: str) -> Any:
        value = self.take(name, default)
        if not isinstance(value, kind):
            raise ConfigError(self.at(name), complaint)
        return value


def _address(path: str, text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(path, f"{text!r} is not an address of the form host:port")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _interface(section: _Section) -> Interface:
    document = dict(section._left)
    for name, served in (("protocol", "tcp"), ("app_protocol", "HTTP1")):
        if section.take(name, served) != served:
            raise ConfigError(section.at(name), f"only {served} is served yet")
    bind = _address(section.at("bind_address"), section.text("bind_address"))
    published = section.text("published_address", "")
    endorsement = section.section("endorsement", {})
    authority = endorsement.choice("authority", "Service", tuple(Authority))
    accepted = section.take("accepted_endpoints", None)
    if accepted is not None and not (isinstance(accepted, list) and all(isinstance(p, str) for p in accepted)):
        raise ConfigError(section.at("accepted_endpoints"), "must be a list of regular expressions")
    return Interface(
        name=section.path.rpartition("rpc_interfaces.")[2],
        bind=bind,
        published=_address(section.at("published_address"), published) if published else bind,
        authority=Authority(authority),
        http=_http_limits(section.section("http_configuration", {})),
        max_open_sessions_soft=section.number("max_open_sessions_soft", 1000, 0),
        max_open_sessions_hard=section.number("max_open_sessions_hard", 1010, 0),
        forwarding_timeout_ms=section.number("forwarding_timeout_ms", 3000, 1),
        accepted_endpoints=None if accepted is None else tuple(accepted),
        document=document,
        redirections=_redirections(section),
    )


def _redirections(section: _Section) -> Redirections | None:
    document = section.take("redirections", None)
    try:
        return None if document is None else parse_redirections(document)
    except InvalidRedirections as error:
        path = ".".join(filter(None, (section.at("redirections"), error.path)))
        raise ConfigError(path, str(error)) from error


def _http_limits(section: _Section) -> HttpLimits:
    limits = HttpLimits(
        max_body_size=section.size("max_body_size", "1MB", 1, 1 << 40),
        max_header_size=section.size("max_header_size", "16KB", 1, 1 << 30),
        max_headers_count=section.number("max_headers_count", 256, 1),
    )
    for name in ("max_concurrent_streams_count", "initial_window_size", "max_frame_size"):
        section.take(name, None)  # HTTP/2 only
    section.done()
    return limits


def _command(section: _Section) -> StartCommand | JoinCommand | RecoverCommand:
    kind = section.take("type")
    start, join = section.section("start", {}), section.section("join", {})
    recover = section.section("recover", {})
    section.done()
    if kind == "Start":
        return _start(start)
    if kind == "Join":
        return _join(join)
    if kind == "Recover":
        return _recover(recover)
    raise ConfigError("command.type", "must be Start, Join or Recover")


def _start(section: _Section) -> StartCommand:
    service = section.section("service_configuration", {})
    configuration = ServiceConfiguration(
        recovery_threshold=service.number("recovery_threshold", 0, 0, 254),
        maximum_node_certificate_validity_days=service.number("maximum_node_certificate_validity_days", 365, 1),
        maximum_service_certificate_validity_days=service.number("maximum_service_certificate_validity_days", 365, 1),
    )
    service.done()
    cose = section.section("cose_signatures", {})
    command = StartCommand(
        members=tuple(
            _member(_Section(f"{section.at('members')}.{index}", member))
            for index, member in enumerate(section.items("members"))
        ),
        constitution_files=section.texts("constitution_files"),
        service_configuration=configuration,
        initial_service_certificate_validity_days=section.number("initial_service_certificate_validity_days", 1, 1),
        service_subject_name=section.text("service_subject_name", "CN=CCF Service"),
        cose_issuer=cose.text("issuer", ""),
        cose_subject=cose.text("subject", ""),
    )
    cose.done()
    section.done()
    if not command.members:
        raise ConfigError("command.start.members", "at least one member is needed")
    return command


def _member(section: _Section) -> MemberFiles:
    role = section.take("recovery_role", None)
    if role is not None and role not in tuple(RecoveryRole):
        raise ConfigError(section.at("recovery_role"), f"must be one of {', '.join(RecoveryRole)}")
    member = MemberFiles(
        certificate_file=section.text("certificate_file"),
        encryption_public_key_file=section.optional_text("encryption_public_key_file"),
        data_json_file=section.optional_text("data_json_file"),
        recovery_role=None if role is None else RecoveryRole(role),
    )
    section.done()
    return member


def _join(section: _Section) -> JoinCommand:
    command = JoinCommand(
        target_rpc_address=_address(section.at("target_rpc_address"), section.text("target_rpc_address")),
        retry_timeout_ms=section.time_ms("retry_timeout", "1000ms"),
        follow_redirect=section.flag("follow_redirect", True),
        fetch_recent_snapshot=section.flag("fetch_recent_snapshot", True),
        fetch_snapshot_max_attempts=section.number("fetch_snapshot_max_attempts", 3, 1),
        fetch_snapshot_retry_interval_ms=section.time_ms("fetch_snapshot_retry_interval", "1000ms", 0),
        fetch_ledger=section.flag("fetch_ledger", False),
        fetch_snapshot_max_size=section.size("fetch_snapshot_max_size", "10GB", 1, (1 << 63) - 1),
    )
    section.done()
    return command


def _recover(section: _Section) -> RecoverCommand:
    command = RecoverCommand(
        previous_service_identity_file=section.text("previous_service_identity_file"),
        initial_service_certificate_validity_days=section.number("initial_service_certificate_validity_days", 1, 1),
        previous_sealed_ledger_secret_location=section.optional_text("previous_sealed_ledger_secret_location"),
    )
    section.done()
    if not command.previous_service_identity_file:
        raise ConfigError(section.at("previous_service_identity_file"), "is missing")
    return command


def _node_certificate(section: _Section) -> NodeCertificate:
    certificate = NodeCertificate(
        curve=Curve(section.choice("curve_id", "Secp384R1", tuple(Curve))),
        subject_name=section.text("subject_name", "CN=CCF Node"),
        subject_alt_names=section.texts("subject_alt_names", []),
        initial_validity_days=section.number("initial_validity_days", 1, 1),
    )
    section.done()
    for name in certificate.subject_alt_names:
        if not name.startswith(("iPAddress:", "dNSName:")):
            raise ConfigError(
                "node_certificate.subject_alt_names", f"{name!r} begins with neither iPAddress: nor dNSName:"
            )
    return certificate


def _output_files(section: _Section) -> OutputFiles:
    files = OutputFiles(
        node_certificate_file=section.text("node_certificate_file", "nodecert.pem"),
        pid_file=section.text("pid_file", "node.pid"),
        node_to_node_address_file=section.text("node_to_node_address_file", ""),
        rpc_addresses_file=section.text("rpc_addresses_file", ""),
        sealed_ledger_secret_location=section.optional_text("sealed_ledger_secret_location"),
    )
    section.done()
    return files
