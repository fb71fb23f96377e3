"""HTTPS to a service, trusting its certificate and nothing else.

A node is believed when the service endorsed its certificate and that names the address asked for. Writes answered with
a redirection are sent again where it points: to the primary.
"""

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from dataplane.txid import TxID, TxStatus

TXID_HEADER = "x-ms-ccf-transaction-id"

_REDIRECTS = frozenset({307, 308})
_MAX_REDIRECTS = 5
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


class SessionError(Exception):
    """The service could not be asked. `code` is stable."""

    code = "SessionError"


class Unreachable(SessionError):
    """No connection, an identity that is not the service's, or no answer in time. A write may have taken effect."""

    code = "Unreachable"


class WaitTimeout(SessionError):
    """What was waited for did not happen in time."""

    code = "WaitTimeout"


class TransactionInvalid(SessionError):
    """The transaction was discarded by a change of view and will never be committed."""

    code = "TransactionInvalid"


class ServiceError(SessionError):
    """The service answered with an error: its status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    @classmethod
    def of(cls, response: "Response") -> "ServiceError":
        """The error in a response, whatever its body looks like."""
        try:
            error = response.json()["error"]
            return cls(response.status, str(error["code"]), str(error["message"]))
        except (ValueError, KeyError, TypeError):
            return cls(response.status, "UnknownError", response.body[:200].decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def txid(self) -> TxID | None:
        """The transaction this answer reports, None where it reports none."""
        text = self.headers.get(TXID_HEADER)
        return None if text is None else TxID.parse(text)

    def json(self) -> Any:
        """The body as JSON; raises `ValueError`."""
        return json.loads(self.body)


class Session:
    """A connection to one service. Use it as a context manager, or `close` it. Not shared between threads."""

    def __init__(
        self,
        url: str,
        service_cert_pem: str,
        client_cert: tuple[Path, Path] | None = None,
        *,
        timeout_s: float = 10,
    ) -> None:
        """`url` like `https://127.0.0.1:8000`; `client_cert`: certificate and private key files of a member or user."""
        if urlsplit(url).scheme != "https":
            raise ValueError(f"{url!r} is no https address")
        self.url = url.rstrip("/")
        self.service_cert_pem = service_cert_pem
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
        context.load_verify_locations(cadata=service_cert_pem)
        if client_cert is not None:
            context.load_cert_chain(*client_cert)
        # no proxies or CA bundles from the environment: the service certificate is the only trust
        self._client = httpx.Client(verify=context, timeout=timeout_s, trust_env=False, follow_redirects=False)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        json_body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Ask for `path` (with its query); `json_body` is sent as JSON. Any status is an answer, redirections aside.

        Raises `Unreachable`; nothing that may have run is sent twice, so the caller decides whether to repeat. A node
        that refuses to go on with a session of an earlier view (node-api.md 1.2 row 8) has run nothing: it is asked
        again, on a new connection.
        """
        sent = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
            sent.setdefault("content-type", "application/json")
        url = self.url + path
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, body, sent)
            if _lost_consistency(response):
                response = self._send(method, url, body, sent)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None:
                return response
            url = str(httpx.URL(url).join(location))
            if urlsplit(url).scheme != "https":
                raise Unreachable(f"{method} {path} is redirected away from https")
        raise Unreachable(f"{method} {path} is redirected more than {_MAX_REDIRECTS} times")

    def get_json(self, path: str) -> Any:
        """The JSON body of a successful GET; raises `ServiceError` for errors, `Unreachable`."""
        response = self.request("GET", path)
        if response.status != 200:
            raise ServiceError.of(response)
        return response.json()

    def status(self, txid: TxID) -> TxStatus:
        """What the node asked knows of a transaction."""
        return TxStatus(self.get_json(f"/node/tx?transaction_id={txid}")["status"])

    def wait_for_commit(self, txid: TxID, timeout_s: float = 10) -> None:
        """Return once the transaction is committed; raises `TransactionInvalid` or `WaitTimeout`."""
        pauses = _Pauses(timeout_s, f"{txid} was not committed")
        while (status := self.status(txid)) is not TxStatus.COMMITTED:
            if status is TxStatus.INVALID:
                raise TransactionInvalid(f"{txid} was discarded")
            pauses.sleep()

    def receipt(self, txid: TxID, timeout_s: float = 10) -> dict[str, Any]:
        """The JSON receipt of a transaction, waiting while the node commits and fetches it.

        Raises `ServiceError`, or `WaitTimeout`.
        """
        pauses = _Pauses(timeout_s, f"no receipt for {txid}")
        while True:
            response = self.request("GET", f"/node/receipt?transaction_id={txid}")
            if response.status == 200:
                return dict(response.json())
            # behind one address, another node than the one that saw the commit may answer
            if response.status != 202 and ServiceError.of(response).code != "TransactionPendingOrUnknown":
                raise ServiceError.of(response)
            pauses.sleep()

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        try:
            answer = self._client.request(method, url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Unreachable(f"{method} {url}: {error}") from error
        return Response(answer.status_code, dict(answer.headers), answer.content)


def _lost_consistency(response: Response) -> bool:
    return response.status == 500 and ServiceError.of(response).code == "SessionConsistencyLost"


class _Pauses:
    """Ever longer pauses up to a deadline, then `WaitTimeout` with the explanation given."""

    def __init__(self, timeout_s: float, explanation: str) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._explanation = f"{explanation} within {timeout_s} s"
        self._pause_s = _FIRST_PAUSE_S

    def sleep(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(self._explanation)
        time.sleep(min(self._pause_s, left_s))
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
