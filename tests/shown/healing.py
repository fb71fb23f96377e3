"""The primary of a managed instance is killed again and again under load; the control plane replaces every dead node.

    python -m tests.shown.healing [ROUNDS]

The same promise as `tests.shown.failover`, kept by the product as a whole: the client knows one address, the nodes are
those the control plane launched, with the settings it writes, and nobody but its workers admits or retires a node. At
the end every record whose transaction was reported Committed is read back from every node. The control is a record
that was never written: the same check must miss it.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from dataplane.client.session import Session, SessionError
from dataplane.txid import TxID, TxStatus
from tests.shown.ledgers import APP
from tests.support.installation import Client, Installation, open_with_app
from tests.support.nodes import wait_until
from tests.support.results import save, spread

WRITES_PER_ROUND = 20
_PATIENCE_S = 20.0


def run(rounds: int, directory: Path) -> dict[str, object]:
    """Raises where a committed record is missing or changed, or a node is not replaced."""
    outages_s: list[float] = []
    replaced_s: list[float] = []
    committed: dict[int, TxID] = {}
    with Installation(directory) as installation:
        arm = installation.up()
        with open_with_app(installation, arm, APP) as session:
            for number in range(rounds):
                outage_s, heal_s = _round(installation, arm, session, number, committed)
                outages_s.append(outage_s)
                replaced_s.append(heal_s)
            _check_all(installation, arm, committed)
        assert len(list(installation.settings.instances_dir.glob("*/*/bank-*"))) == 3, "a dead node left something"
    return {
        "rounds": rounds,
        "reported_committed": len(committed),
        "writes_resume_s": spread(outages_s),
        "replaced_s": spread(replaced_s),
        "lost_or_changed": 0,
        "control": "a record that was never written is reported missing",
    }


def _round(
    installation: Installation, arm: Client, session: Session, number: int, committed: dict[int, TxID]
) -> tuple[float, float]:
    """One kill: the seconds without an accepted write, and those until three nodes run again."""
    first = number * WRITES_PER_ROUND
    nodes = arm.nodes_of("bank")
    primary = next(name for name, node in nodes.items() if node.get("role") == "Primary")
    txids = {first: _write(session, first)}
    os.kill(installation.node_pids("bank")[primary], signal.SIGKILL)
    killed = time.monotonic()
    txids[first + 1] = _write(session, first + 1)
    outage_s = time.monotonic() - killed
    txids |= {record: _write(session, record) for record in range(first + 2, first + WRITES_PER_ROUND)}
    session.wait_for_commit(txids[first + WRITES_PER_ROUND - 1], 20)
    committed |= {r: txid for r, txid in txids.items() if session.status(txid) is TxStatus.COMMITTED}
    assert len([r for r in committed if r > first]) == WRITES_PER_ROUND - 1, "what was waited for must be committed"
    wait_until("a replacement", lambda: _is_healed(installation, arm, primary), 90)
    return outage_s, time.monotonic() - killed


def _write(session: Session, record: int) -> TxID:
    """One accepted write through the instance's address, asked again until there is one."""
    body = json.dumps(_content(record)).encode()
    begin = time.monotonic()
    while time.monotonic() - begin < _PATIENCE_S:
        try:
            answer = session.request("POST", f"/app/claim?id={record}&claim=no", body=body)
        except SessionError:
            answer = None
        if answer is not None and answer.status == 204 and answer.txid is not None:
            return answer.txid
        time.sleep(0.02)
    raise AssertionError(f"record {record} was not written within {_PATIENCE_S} s: {answer}")


def _content(record: int) -> dict[str, str]:
    return {"secret": f"secret {record}", "open": f"open {record}"}


def _is_healed(installation: Installation, arm: Client, gone: str) -> bool:
    nodes = arm.nodes_of("bank")
    running = {name for name, node in nodes.items() if node["state"] == "Running"}
    roles = [node.get("role") for node in nodes.values()]
    alive = set(installation.node_pids("bank"))
    return gone not in nodes and alive == running and len(running) == 3 and roles.count("Primary") == 1


def _check_all(installation: Installation, arm: Client, committed: dict[int, TxID]) -> None:
    certificate, user = arm.certificate("bank"), installation.user()
    for node in arm.nodes_of("bank").values():
        with Session(f"https://{node['rpcAddress']}", certificate, (user.certificate, user.private_key)) as direct:
            direct.wait_for_commit(committed[max(committed)], 20)
            for record, txid in committed.items():
                assert direct.status(txid) is TxStatus.COMMITTED, f"record {record} at {txid} is no longer committed"
                assert _reads(direct, record), f"record {record} at {txid} is missing or changed"
            assert not _reads(direct, 10**9), "the control: a record that was never written"


def _reads(session: Session, record: int) -> bool:
    answer = session.request("GET", f"/app/claim?id={record}")
    return answer.status == 200 and answer.json() == _content(record)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save("healing", run(int(sys.argv[1]) if len(sys.argv) > 1 else 20, Path(temporary)))
