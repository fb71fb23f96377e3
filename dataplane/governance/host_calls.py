"""What the actions of a constitution may ask of the node (node-api.md 4.6).

`ServiceOps` is the node's side: keys, secrets, clock and randomness. `natives` makes of it the functions that appear
below the `ccf` global. What they raise as `ValueError` or `CcfError` reaches the script as an exception.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from dataplane.attestation.snp_tcb import tcb_policy
from dataplane.crypto.certs import (
    endorse_node_csr,
    parse_valid_from,
    self_signed_service_certificate,
    subject_text,
)
from dataplane.crypto.keys import PrivateKey
from dataplane.governance import jwt
from dataplane.governance.recovery import SecretHistory, await_shares
from dataplane.governance.rekey import rekey
from dataplane.governance.service import OpeningRefused, ServiceStatus, is_open, open_service, service_info
from dataplane.governance.shares import LatestSecret, SharesNotPossible, issue_shares
from dataplane.js.bundle import check_bundle
from dataplane.js.host import Access, Natives
from dataplane.js.interpreter import DEFAULT_LIMITS, JsError, Limits, compile_modules, exported_arity
from dataplane.js.quickjs import ENGINE_VERSION
from dataplane.kv.tables import (
    JS_RUNTIME_OPTIONS,
    MODULES,
    MODULES_QUICKJS_BYTECODE,
    MODULES_QUICKJS_VERSION,
    UNIT_KEY,
    get_json,
)
from dataplane.kv.tx import Tx

CONSTITUTION_MODULE = "constitution"
_PARAMETERS: Mapping[str, range] = {"validate": range(1, 2), "resolve": range(3, 5), "apply": range(2, 3)}


class ServiceOps(Protocol):
    """What governance asks of the node it runs on. Two exist: the node, and the one tests use."""

    @property
    def service_key(self) -> PrivateKey:
        """The service's private key."""

    def latest_ledger_secret(self) -> LatestSecret:
        """The ledger secret that new transactions are encrypted with."""

    def secret_history(self) -> SecretHistory:
        """The writes of the table of historical ledger secrets, as far as this node's ledger goes back."""

    def unseal(self) -> Callable[[int], bytes | None] | None:
        """The sealed ledger secret of a version, None without one; None where this node was told to unseal nothing."""

    def now(self) -> datetime:
        """The present time, UTC."""

    def draw(self) -> int:
        """A random 64-bit word, fit for keys."""

    def new_serial(self) -> int:
        """A random certificate serial number of 16 bytes."""

    def request_chunk(self, tx: Tx) -> None:
        """Have the next signature end a ledger chunk, if and when `tx` takes effect."""

    def request_snapshot(self, tx: Tx) -> None:
        """Have the next committed signature make a snapshot, if and when `tx` takes effect; raises `CcfError`."""

    def log(self, level: str, text: str) -> None:
        """A line of a script's console; `level` is `info`, `warn` or `error`."""


class InvalidConstitution(ValueError):
    """A text that is no constitution."""


def natives(tx: Tx, ops: ServiceOps, access: Access) -> Natives:
    """The functions below `ccf` for a governance script: those that change something only for `apply`."""
    limits = governance_limits(tx)
    reading: dict[str, Callable[..., object]] = {
        "gov.checkBundle": lambda bundle: _check_bundle(bundle, limits),
        "gov.validateConstitution": lambda text: validate_constitution(text, limits),
        "tcbHexToPolicy": tcb_policy,
    }
    if access is not Access.GOV_READ_WRITE:
        return reading
    return {
        **reading,
        **jwt.natives(tx),
        "node.transitionServiceToOpen": lambda previous, following: _open(tx, ops, previous, following),
        "node.triggerLedgerRekey": lambda: rekey(tx, ops.latest_ledger_secret(), ops.draw),
        "node.triggerRecoverySharesRefresh": lambda: _refresh_shares(tx, ops),
        "node.triggerLedgerChunk": lambda: ops.request_chunk(tx),
        "node.triggerSnapshot": lambda: ops.request_snapshot(tx),
        "node.triggerACMERefresh": lambda _interfaces=None: None,  # of older releases; no interface here uses ACME
        "network.getLatestLedgerSecretSeqno": lambda: ops.latest_ledger_secret().version,
        "network.generateEndorsedCertificate": lambda csr, start, days: _endorse(tx, ops, csr, start, days),
        "network.generateNetworkCertificate": lambda start, days: _service_certificate(tx, ops, start, days),
        "refreshAppBytecodeCache": lambda: _refresh_bytecode(tx, limits),
    }


def governance_limits(tx: Tx) -> Limits:
    """What a governance script may use: as the members voted, but never below the defaults (node-api.md 5.7)."""
    options = get_json(tx, JS_RUNTIME_OPTIONS) or {}
    names = ("max_heap_bytes", "max_stack_bytes", "max_execution_time_ms")
    return Limits(**{name: int(options[name]) for name in names if name in options}).at_least_default()


def validate_constitution(text: object, limits: Limits = DEFAULT_LIMITS) -> bool:
    """`ccf.gov.validateConstitution`: true, or the exception of `check_constitution`."""
    check_constitution(text, limits)
    return True


def check_constitution(text: object, limits: Limits) -> None:
    """Whether `text` loads and exports `validate`, `resolve` and `apply` with as many parameters as they are given.

    Raises `InvalidConstitution`; its texts are pinned (node-api.md 4.4).
    """
    if not isinstance(text, str):
        raise InvalidConstitution("constitution must be of type string")
    if not text:
        raise InvalidConstitution("constitution is empty")
    for name, allowed in _PARAMETERS.items():
        try:
            count = exported_arity({CONSTITUTION_MODULE: text}.get, CONSTITUTION_MODULE, name, limits)
        except JsError as error:
            raise InvalidConstitution(error.reason) from error
        if count not in allowed:
            raise InvalidConstitution(
                f"exports function {name} with {_arguments(count)}, expected {_expected(allowed)}"
            )


def _arguments(count: object) -> str:
    return f"{count} arg" if count == 1 else f"{count} args"


def _expected(allowed: range) -> str:
    if len(allowed) == 1:
        return _arguments(allowed[0])
    return f"between {allowed[0]} and {allowed[-1]} args"


def _open(tx: Tx, ops: ServiceOps, previous: bytes | None, following: bytes) -> None:
    """Refusals also go to the log, where operators look for them (node-api.md 6.1)."""
    try:
        _transition(tx, ops, None if previous is None else _text(previous), _text(following))
    except (OpeningRefused, SharesNotPossible) as error:
        ops.log("error", f"Unable to open service: {error}")
        raise type(error)(f"Unable to open service: {error}") from error


def _transition(tx: Tx, ops: ServiceOps, previous: str | None, following: str) -> None:
    if service_info(tx)["status"] == ServiceStatus.RECOVERING:
        await_shares(tx, previous, following, history=ops.secret_history(), unsealed=ops.unseal())
        return
    open_service(
        tx,
        following,
        service_key=ops.service_key,
        ledger_secret=ops.latest_ledger_secret().key,
        draw=ops.draw,
        now=ops.now(),
    )


def _text(identity: bytes) -> str:
    return identity.decode("utf-8", "replace")


def _refresh_shares(tx: Tx, ops: ServiceOps) -> None:
    if not is_open(tx):
        raise OpeningRefused("recovery shares can only be refreshed while the service is open")
    issue_shares(tx, ops.latest_ledger_secret().key, ops.draw)


def _endorse(tx: Tx, ops: ServiceOps, csr_pem: str, valid_from: str, days: int) -> str:
    certificate: str = service_info(tx)["cert"]
    return endorse_node_csr(ops.service_key, certificate, csr_pem, ops.new_serial(), parse_valid_from(valid_from), days)


def _service_certificate(tx: Tx, ops: ServiceOps, valid_from: str, days: int) -> str:
    subject = subject_text(service_info(tx)["cert"])
    start = parse_valid_from(valid_from)
    return self_signed_service_certificate(ops.service_key, subject, ops.new_serial(), start, days)


def _check_bundle(bundle: object, limits: Limits) -> bool:
    """`ccf.gov.checkBundle`, ours alone: true, or every fault of an application bundle as an exception."""
    check_bundle(bundle, limits)
    return True


def _refresh_bytecode(tx: Tx, limits: Limits) -> None:
    """Replace both bytecode tables by what compiles from `modules` now; raises `ValueError` where one does not."""
    sources = {key.decode().removeprefix("/"): source for key, source in tx.items(MODULES)}
    try:
        compiled = compile_modules(sources, limits)
    except JsError as error:
        raise ValueError(error.reason) from error
    tx.clear(MODULES_QUICKJS_BYTECODE)
    for name, bytecode in compiled.items():
        tx.put(MODULES_QUICKJS_BYTECODE, f"/{name}".encode(), bytecode)
    tx.put(MODULES_QUICKJS_VERSION, UNIT_KEY, ENGINE_VERSION.encode())
