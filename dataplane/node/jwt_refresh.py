"""The primary fetches the signing keys of token issuers that ask for it (node-api.md 3.2).

For each issuer with `auto_refresh`: its discovery document names a key set, and that goes to the node's own
`/node/jwt_keys/refresh`. This happens at every interval and after each write to `jwt.issuers`. Whatever fails is logged
and tried again: nothing here can stop the node. An issuer that cannot be reached counts neither as a success nor as a
failure, as in the original, whose tests rely on it; an answer that is no key set is a failure.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from dataplane.api.auth import Peer
from dataplane.api.jwt_refresh import REFRESH_PATH
from dataplane.api.pipeline import ForwardedRequest, Pipeline
from dataplane.apps.endpoint import Response
from dataplane.governance.jwt import RefreshedIssuer, refreshed_issuers
from dataplane.kv.tx import Tx
from dataplane.node.https_get import HttpsAnswer, HttpsFailed, https_get

_TIMEOUT_S = 10.0
_DISCOVERY = "/.well-known/openid-configuration"

_log = logging.getLogger("jwt")

Fetch = Callable[[str, str, float], Awaitable[HttpsAnswer]]


class _NoKeySet(Exception):
    """The issuer answered, and not with what was asked for."""


@dataclass(slots=True)
class RefreshCounts:
    """What `GET /node/jwt_keys/refresh/metrics` tells, of this node since it started."""

    attempts: int = 0
    successes: int = 0
    failures: int = 0


class RefreshingNode(Protocol):
    """What a refresh asks of the node; the node itself is one."""

    on_jwt_issuers: Callable[[], None]

    @property
    def self_signed_certificate(self) -> str: ...
    @property
    def is_primary(self) -> bool: ...
    def begin(self) -> Tx: ...


def refresh_by(node: RefreshingNode, pipeline: Pipeline, interval_ms: int) -> "JwtKeyRefresh":
    """The refresh of a node, which submits to that node as the node itself."""
    der = ssl.PEM_cert_to_DER_cert(node.self_signed_certificate)
    peer, headers = Peer(der, sha256(der).hexdigest()), {"content-type": "application/json"}

    def submit(body: bytes) -> Response:
        return pipeline.execute_forwarded(ForwardedRequest(0, peer, "POST", f"/node{REFRESH_PATH}", headers, body))

    refresh = JwtKeyRefresh(
        interval_ms=interval_ms,
        is_primary=lambda: node.is_primary,
        issuers=lambda: refreshed_issuers(node.begin()),
        submit=submit,
    )
    node.on_jwt_issuers = refresh.issuers_changed
    return refresh


class JwtKeyRefresh:
    """Keeps issuers' keys fresh while this node is primary.

    `issuers()` reads the store, `submit(body)` answers as `POST /node/jwt_keys/refresh` does, `fetch` asks a URL.
    """

    def __init__(
        self,
        *,
        interval_ms: int,
        is_primary: Callable[[], bool],
        issuers: Callable[[], Sequence[RefreshedIssuer]],
        submit: Callable[[bytes], Response],
        fetch: Fetch = https_get,
    ) -> None:
        self.counts = RefreshCounts()
        self._interval_s = interval_ms / 1000
        self._is_primary = is_primary
        self._issuers = issuers
        self._submit = submit
        self._fetch = fetch
        self._running: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}  # the last trouble of each issuer that was logged
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Refresh at every interval from now on."""
        self._timer = self._loop.call_later(self._interval_s, self._tick)

    def issuers_changed(self) -> None:
        """`jwt.issuers` was written: refresh all of them once this turn of the loop is over."""
        self._loop.call_soon(self._begin, True)

    async def close(self) -> None:
        """Stop, and wait until nothing runs any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._interval_s, self._tick)
        self._begin(False)

    def _begin(self, anew: bool) -> None:
        """Refresh every issuer; one whose refresh still runs only `anew`, as it may have changed."""
        if self._closed or not self._is_primary():
            return
        for issuer in self._issuers():
            running = self._running.get(issuer.issuer)
            if running is not None:
                if not anew:
                    continue
                running.cancel()
            task = self._loop.create_task(self._refresh(issuer))
            self._running[issuer.issuer] = task
            task.add_done_callback(lambda done, name=issuer.issuer: self._done(name, done))  # type: ignore[misc]

    def _done(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._running.get(name) is task:
            del self._running[name]
        if not task.cancelled() and task.exception() is not None:
            _log.warning("JWT key auto-refresh of %s failed", name, exc_info=task.exception())

    async def _refresh(self, issuer: RefreshedIssuer) -> None:
        try:
            keys = await self._key_set(issuer)
        except HttpsFailed as error:
            self._tell(issuer, str(error), logging.INFO)
            return
        except _NoKeySet as error:
            self._count(500)
            self._tell(issuer, str(error), logging.WARNING)
            return
        if not self._is_primary():
            return
        answer = self._submit(json.dumps({"issuer": issuer.issuer, "jwks": keys}).encode())
        self._count(answer.status)
        if answer.status >= 400:
            self._tell(issuer, answer.body.decode("utf-8", "replace"), logging.WARNING)
        else:
            self._told.pop(issuer.issuer, None)

    async def _key_set(self, issuer: RefreshedIssuer) -> object:
        if issuer.bundle_pem is None:
            raise _NoKeySet(f"there is no CA certificate bundle {issuer.bundle_name!r}")
        discovery = await self._json(issuer.issuer.rstrip("/") + _DISCOVERY, issuer.bundle_pem)
        uri = discovery.get("jwks_uri")
        if not isinstance(uri, str):
            raise _NoKeySet("the discovery document names no jwks_uri")
        return await self._json(uri, issuer.bundle_pem)

    async def _json(self, url: str, bundle_pem: str) -> Mapping[str, Any]:
        answer = await self._fetch(url, bundle_pem, _TIMEOUT_S)
        if answer.status != 200:
            raise _NoKeySet(f"{url} answered {answer.status}")
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise _NoKeySet(f"{url} answered no JSON") from error
        if not isinstance(value, dict):
            raise _NoKeySet(f"{url} answered no JSON object")
        return value

    def _count(self, status: int) -> None:
        self.counts.attempts += 1
        if status < 300:
            self.counts.successes += 1
        else:
            self.counts.failures += 1

    def _tell(self, issuer: RefreshedIssuer, trouble: str, level: int) -> None:
        """Log trouble once, not at every interval for as long as it lasts."""
        if self._told.get(issuer.issuer) != trouble:
            self._told[issuer.issuer] = trouble
            _log.log(level, "JWT key auto-refresh: keys of %s were not refreshed: %s", issuer.issuer, trouble)
