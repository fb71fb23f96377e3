"""Nodes as local processes (decisions 18): a zone is a directory and an address range in 127.0.0.0/8.

    <instances_dir>/<instance id>/<zone>/<node name>/
        lock          held by the node's process for as long as it lives
        launch.json   ordinal, mode, time and pid of the launch: written once the process exists
        <ordinal>.config.json, <ordinal>.pem, <ordinal>.rpc_addresses, node.pid, out, err, ...    drop-in.md 3.2

Whether a node lives is asked of the kernel: the launcher takes an exclusive `flock` and the node inherits the open
file, so the lock is held exactly as long as the process exists. It needs no parent, survives our own restarts, and
cannot be fooled by a pid that was given to someone else. The pid is only for signals, and only after its working
directory has been compared with the node's.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.backends.backend import BackendError, BackendNode, JoinSpec, MemberSpec, NodeSpec, StartSpec
from controlplane.reconcile.model import LaunchMode
from controlplane.settings import Settings

INTERFACE = "primary_rpc_interface"
NODE_COMMAND = (sys.executable, "-P", "-m", "dataplane")
FIRST_ZONE_BLOCK = 101
"""The first zone's nodes live in 127.101.0.0/16, the next zone's in 127.102.0.0/16, and so on."""
LAST_WORDS_BYTES = 2048
STOP_TIMEOUT_S = 3.0
_LOCK_WAIT_S = 0.2


class ProcessBackend:
    """Implements `Backend`. `command` is the node executable with its first arguments."""

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str] = NODE_COMMAND,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._command = tuple(command)
        self._clock = clock
        # Our own children must be waited for, or they stay behind as zombies; nobody else needs to know them.
        self._children: list[subprocess.Popen[bytes]] = []

    def launch(self, spec: NodeSpec) -> None:
        directory = self._instance_dir(spec.instance_id) / spec.zone / spec.name
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _lock(directory) as descriptor:
                if descriptor is not None and not (directory / "node.pid").exists():
                    self._write_files(directory, spec)
                    self._record(directory, spec, self._spawn(directory, spec.ordinal, descriptor))
                elif not (directory / "launch.json").exists():
                    self._record(directory, spec, None)  # whoever launched it got no further
        except OSError as error:
            raise BackendError(f"{spec.name} cannot be launched: {error}") from error

    def observe(self, instance_id: str) -> Sequence[BackendNode]:
        self._reap()
        found = [_describe(directory) for directory in self._node_dirs(instance_id)]
        return sorted((node for node in found if node is not None), key=lambda node: node.ordinal)

    def discard(self, instance_id: str, name: str) -> None:
        for directory in self._node_dirs(instance_id):
            if directory.name == name:
                self._stop(directory)
                shutil.rmtree(directory, ignore_errors=True)
                if directory.exists():
                    raise BackendError(f"{name} cannot be removed")

    def holds(self, instance_id: str) -> bool:
        return self._instance_dir(instance_id).exists()

    def remove_instance(self, instance_id: str) -> None:
        for directory in self._node_dirs(instance_id):
            self.discard(instance_id, directory.name)
        shutil.rmtree(self._instance_dir(instance_id), ignore_errors=True)

    def _instance_dir(self, instance_id: str) -> Path:
        return self._settings.instances_dir / instance_id

    def _node_dirs(self, instance_id: str) -> list[Path]:
        return sorted(path for path in self._instance_dir(instance_id).glob("*/*") if path.is_dir())

    def _write_files(self, directory: Path, spec: NodeSpec) -> None:
        files = node_files(spec, self._settings)
        for name, content in files.items():
            _write_whole(directory / name, content)

    def _record(self, directory: Path, spec: NodeSpec, pid: int | None) -> None:
        mode = LaunchMode.START if isinstance(spec.command, StartSpec) else LaunchMode.JOIN
        launch = {"ordinal": spec.ordinal, "mode": mode.value, "launched_at_s": self._clock(), "pid": pid}
        _write_whole(directory / "launch.json", json.dumps(launch))

    def _spawn(self, directory: Path, ordinal: int, lock: int) -> int:
        arguments = (*self._command, "--config", f"{ordinal}.config.json")
        with (directory / "out").open("ab") as out, (directory / "err").open("ab") as err:
            child = subprocess.Popen(
                arguments,
                cwd=directory,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                pass_fds=(lock,),
            )
        self._children.append(child)
        return child.pid

    def _stop(self, directory: Path) -> None:
        """Ask, wait, insist. A process that is not the node's is never signalled."""
        ended = _ends_after(directory, signal.SIGTERM) or _ends_after(directory, signal.SIGKILL)
        self._reap()
        if not ended:
            raise BackendError(f"{directory.name} does not stop")

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]


def node_files(spec: NodeSpec, settings: Settings) -> dict[str, str]:
    """Everything a node finds in its directory when it starts, by file name."""
    files = {f"{spec.ordinal}.config.json": json.dumps(node_config(spec, settings), indent=2)}
    files["node_data.json"] = json.dumps({"name": spec.name, "zone": spec.zone, "ordinal": spec.ordinal})
    if isinstance(spec.command, JoinSpec):
        return files | {"service_cert.pem": spec.command.service_certificate}
    for index, member in enumerate(spec.command.members):
        files |= _member_files(index, member)
    return files | {"constitution.js": spec.command.constitution}


def node_config(spec: NodeSpec, settings: Settings) -> dict[str, object]:
    """The node's configuration in CCF's own form (drop-in.md 3.3, node-api.md 6.2)."""
    host = node_host(spec, settings.zones)
    names = [f"iPAddress:{host}", *spec.extra_names]
    return {
        "network": {
            "node_to_node_interface": {"bind_address": f"{host}:0"},
            "rpc_interfaces": {INTERFACE: {"bind_address": f"{host}:0", "published_address": f"{host}:0"}},
        },
        "node_certificate": {"subject_alt_names": names, "initial_validity_days": 365},
        "node_data_json_file": "node_data.json",
        "command": _command_config(spec.command),
        "ledger": {"directory": f"{spec.ordinal}.ledger", "chunk_size": settings.node_chunk_size},
        "consensus": {
            "message_timeout": f"{settings.node_message_timeout_ms}ms",
            "election_timeout": f"{settings.node_election_timeout_ms}ms",
        },
        "ledger_signatures": {"delay": f"{settings.node_signature_delay_ms}ms"},
        "output_files": {
            "node_certificate_file": f"{spec.ordinal}.pem",
            "pid_file": "node.pid",
            "node_to_node_address_file": f"{spec.ordinal}.node_address",
            "rpc_addresses_file": f"{spec.ordinal}.rpc_addresses",
        },
        "node_client_interface": host,
    }


def node_host(spec: NodeSpec, zones: Sequence[str]) -> str:
    """An address of the node's own in its zone's range; ports are chosen by the kernel, so overlaps do no harm."""
    block = FIRST_ZONE_BLOCK + (zones.index(spec.zone) if spec.zone in zones else len(zones))
    third = hashlib.sha256(spec.instance_id.encode()).digest()[0]
    return f"127.{min(block, 254)}.{third}.{spec.ordinal % 254 + 1}"


def _command_config(command: StartSpec | JoinSpec) -> dict[str, object]:
    if isinstance(command, JoinSpec):
        join = {
            "target_rpc_address": command.target,
            "retry_timeout": "100ms",
            "follow_redirect": True,
            "fetch_ledger": True,  # a node that begins with a snapshot still answers for the time before it
        }
        return {"type": "Join", "service_certificate_file": "service_cert.pem", "join": join}
    start = {
        "members": [_member_config(index, member) for index, member in enumerate(command.members)],
        "constitution_files": ["constitution.js"],
        "service_configuration": {
            "recovery_threshold": command.recovery_threshold,
            "maximum_node_certificate_validity_days": 365,
            "maximum_service_certificate_validity_days": 365,
        },
        "initial_service_certificate_validity_days": 365,
        "service_subject_name": f"CN={command.service_name}",
        "cose_signatures": {"issuer": command.service_name, "subject": "ledger.signature"},
    }
    return {"type": "Start", "service_certificate_file": "service_cert.pem", "start": start}


def _member_config(index: int, member: MemberSpec) -> dict[str, object]:
    return {
        "certificate_file": f"member{index}_cert.pem",
        "encryption_public_key_file": f"member{index}_enc_pubk.pem" if member.encryption_key else None,
        "data_json_file": f"member{index}_data.json" if member.data is not None else None,
    }


def _member_files(index: int, member: MemberSpec) -> dict[str, str]:
    files = {f"member{index}_cert.pem": member.certificate}
    if member.encryption_key:
        files[f"member{index}_enc_pubk.pem"] = member.encryption_key
    if member.data is not None:
        files[f"member{index}_data.json"] = json.dumps(member.data)
    return files


def _describe(directory: Path) -> BackendNode | None:
    launch = _read_json(directory / "launch.json")
    if launch is None:
        return None  # half a launch: the same launch will complete it
    ordinal = int(str(launch["ordinal"]))
    running = _is_running(directory)
    rpc = _read_json(directory / f"{ordinal}.rpc_addresses") or {}
    peer = _read_json(directory / f"{ordinal}.node_address") or {}
    mode = LaunchMode(str(launch["mode"]))
    return BackendNode(
        name=directory.name,
        ordinal=ordinal,
        zone=directory.parent.name,
        mode=mode,
        launched_at_s=float(str(launch["launched_at_s"])),
        running=running,
        node_id=_node_id(directory / f"{ordinal}.pem"),
        rpc_address=_text_or_none(rpc.get(INTERFACE)),
        peer_address=_text_or_none(peer.get("node_to_node_interface")),
        service_certificate=_read(directory / "service_cert.pem") if mode is LaunchMode.START else None,
        last_words=None if running else _last_words(directory),
    )


def _node_id(certificate: Path) -> str | None:
    """CCF's node id: SHA-256 of the public key's DER form (node-api.md 6.3)."""
    pem = _read(certificate)
    if not pem:
        return None
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _last_words(directory: Path) -> str | None:
    """The end of standard error, where a node that could not even start says why, else of its log."""
    for name in ("err", "out"):
        with contextlib.suppress(OSError):
            text = (directory / name).read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").strip()
            if text:
                return text
    return None


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[int | None]:
    """The node's lock, exclusively, as an open file to be inherited; None when a living node holds it."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if _try_lock(descriptor, fcntl.LOCK_EX, _LOCK_WAIT_S) else None
    finally:
        os.close(descriptor)


def _is_running(directory: Path) -> bool:
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH, 0)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int, wait_s: float) -> bool:
    """A node's lock is held for good, an observer's for a moment: so a launcher waits a little."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        else:
            return True


def _ends_after(directory: Path, number: signal.Signals) -> bool:
    """Signal the node once and wait for its lock to fall."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    signalled = False
    while _is_running(directory):
        if time.monotonic() > deadline:
            return False
        if not signalled and (pid := _pid_of(directory)) is not None:
            _signal(pid, number)
            signalled = True
        time.sleep(0.02)
    return True


def _pid_of(directory: Path) -> int | None:
    """The node's pid, from its launcher or from itself, if a process of that number works in its directory."""
    launch = _read_json(directory / "launch.json") or {}
    for text in (str(launch.get("pid")), (_read(directory / "node.pid") or "").strip()):
        with contextlib.suppress(OSError):
            if text.isdecimal() and Path(f"/proc/{text}/cwd").readlink() == directory.resolve():
                return int(text)
    return None


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _read_json(path: Path) -> Mapping[str, object] | None:
    text = _read(path)
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _write_whole(path: Path, content: str) -> None:
    """Temporary file and rename: a node or an observer sees all of a file or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)
