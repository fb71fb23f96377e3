"""What governance may ask of this node: keys, secrets, clock, randomness, a new ledger chunk (`ServiceOps`)."""

import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from dataplane.crypto.certs import public_key_of
from dataplane.crypto.keys import PrivateKey, key_id
from dataplane.governance.recovery import SecretHistory
from dataplane.governance.shares import LatestSecret
from dataplane.kv.tx import Tx
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.node.identity import ServiceIdentity, new_serial

_LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "error": logging.WARNING}
_log = logging.getLogger("js")


class NodeServiceOps:
    """One node's answer to governance. The service identity is known once this node started or joined."""

    def __init__(self, ledger_secrets: LedgerSecrets) -> None:
        self._ledger_secrets = ledger_secrets
        self.service: ServiceIdentity | None = None
        self.read_secret_history: Callable[[], SecretHistory] = tuple
        self.unseal_version: Callable[[int], bytes | None] | None = None
        self._chunk_wanted_by: Tx | None = None
        self._snapshot_wanted_by: Tx | None = None

    @property
    def service_key(self) -> PrivateKey:
        assert self.service is not None, "governance runs on nodes that are part of a service"
        return self.service.key

    def renew_service_certificate(self, pem: str) -> bool:
        """Use this certificate from now on, where it is another one over the service's key; whether it was taken.

        An older one over another key is seen by a node that replays how the service was recovered.
        """
        service = self.service
        if service is None or pem == service.certificate:
            return False
        if key_id(public_key_of(pem)) != key_id(service.key.public_key()):
            return False
        self.service = ServiceIdentity(service.key, pem)
        return True

    def latest_ledger_secret(self) -> LatestSecret:
        *_, (version, key) = self._ledger_secrets
        return LatestSecret(version, key)

    def secret_history(self) -> SecretHistory:
        return self.read_secret_history()

    def unseal(self) -> Callable[[int], bytes | None] | None:
        return self.unseal_version

    def now(self) -> datetime:
        return datetime.now(UTC)

    def draw(self) -> int:
        return secrets.randbits(64)

    def new_serial(self) -> int:
        return new_serial()

    def request_chunk(self, tx: Tx) -> None:
        self._chunk_wanted_by = tx

    def request_snapshot(self, tx: Tx) -> None:
        self._snapshot_wanted_by = tx

    def log(self, level: str, text: str) -> None:
        _log.log(_LEVELS.get(level, logging.INFO), "%s", text)

    def wants_chunk(self, tx: Tx) -> bool:
        """Whether `tx`, which just took effect, asked for a chunk; asked once."""
        wanted = self._chunk_wanted_by is tx
        self._chunk_wanted_by = None
        return wanted

    def wants_snapshot(self, tx: Tx) -> bool:
        """Whether `tx`, which just took effect, asked for a snapshot; asked once."""
        wanted = self._snapshot_wanted_by is tx
        self._snapshot_wanted_by = None
        return wanted
