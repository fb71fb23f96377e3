"""A client that keeps writing, whatever happens to the nodes, and remembers what it was told."""

import json
import time
from dataclasses import dataclass, field
from hashlib import sha256

from dataplane.client.session import Session, SessionError
from dataplane.txid import TxID
from tests.support.nodes import NodeFault, Service

_PATIENCE_S = 20.0


@dataclass
class Written:
    """One acknowledged write. `claims` is the digest its transaction attests, None without."""

    record: int
    txid: TxID
    secret: str
    open: str
    claims: bytes | None


@dataclass
class Writer:
    """Writes numbered records to the claims app, every second one with a claim, through the nodes in turn."""

    service: Service
    user: str = "user0"
    written: list[Written] = field(default_factory=list)
    outages_s: list[float] = field(default_factory=list)

    def write(self, count: int) -> None:
        """`count` more acknowledged writes. An unanswered one is written again under the same number."""
        for _ in range(count):
            self._write_one(len(self.written))

    def wait_for_commit(self, timeout_s: float = 20) -> None:
        """Wait until the last write is committed."""
        self.service.session(user=self.user).wait_for_commit(self.written[-1].txid, timeout_s)

    def read(self, session: Session, written: Written) -> bool:
        """Whether a node gives back what was written."""
        answer = session.request("GET", f"/app/claim?id={written.record}")
        return answer.status == 200 and answer.json() == {"secret": written.secret, "open": written.open}

    def _write_one(self, record: int) -> None:
        text = f"open {record} " + "x" * 40
        claim = record % 2 == 1
        body = json.dumps({"secret": f"secret {record}", "open": text}).encode()
        path = f"/app/claim?id={record}&claim={'yes' if claim else 'no'}"
        begin = time.monotonic()
        attempt = record
        while time.monotonic() - begin < _PATIENCE_S:
            nodes = self.service.alive()
            try:
                answer = self.service.session(nodes[attempt % len(nodes)], self.user).request("POST", path, body=body)
            except SessionError:
                answer = None
            if answer is not None and answer.status == 204 and answer.txid is not None:
                claims = sha256(text.encode()).digest() if claim else None
                self.written.append(Written(record, answer.txid, f"secret {record}", text, claims))
                if attempt != record:
                    self.outages_s.append(time.monotonic() - begin)
                return
            attempt += 1
            time.sleep(0.02)
        raise NodeFault(f"record {record} was not written within {_PATIENCE_S} s: {answer}")
