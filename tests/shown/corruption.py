"""One wrong byte anywhere in a ledger is found and located by `mccf ledger verify`, a thousand times.

    python -m tests.shown.corruption [COUNT] [TRANSACTIONS] [NODES] [SEED]

The ledger has two views, a rekey and a recovery, and ends with a signature. Bytes are drawn over all files, by size. A
byte counts as located when the first problem names its file and its entry, or, for a chunk's header and positions
table, its file. The 48 bytes of the newest signature that only ledger secrets can check are checked with them. Some of
the checks go through the real command line. The control: the same bytes against a check that believes every tree.

Each such ledger is also read as a node reads it that recovers: the public rows it would go on from must be those that
were written, at the seqno it stops at. And real nodes are started on copies of a real service's ledger: each refuses
it, or goes on from a part of it that verifies.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest.mock import patch

from dataplane.client.audit import Selection
from dataplane.client.ledger_check import LedgerCheck, Verdict, check_ledger
from dataplane.kv.tables import SERVICE_INFO, UNIT_KEY
from dataplane.ledger.entry import decode_entry
from dataplane.ledger.replay import LedgerReplay
from dataplane.ledger.secrets import LedgerSecrets
from dataplane.ledger.signatures import is_signature
from tests.support.corruption import (
    Place,
    corrupted,
    damage,
    eventful_ledger,
    is_located,
    places,
    public_rows_at_signatures,
    restore,
)
from tests.support.nodes import ROOT, NodeFault, Service
from tests.support.real_ledgers import frames_of
from tests.support.recovery import begin_recovery
from tests.support.results import save

_APP = ROOT / "samples" / "logging"
_COMMAND_LINE_EVERY = 50
_CONTROL_COUNT = 40


def run(count: int, transactions: int, nodes: int, seed: int, directory: Path) -> dict[str, object]:
    """Raises where a wrong byte is not found at its place, believed by a node, or found by the control as well."""
    random = Random(seed)
    started = nodes_on_wrong_bytes(nodes, random, directory.parent / "nodes")
    ledger = eventful_ledger(transactions)
    files = ledger.write_to(directory)
    certificate = directory.parent / f"{directory.name}_service_cert.pem"
    certificate.write_text(ledger.service_cert)
    assert _check(files).verdict is Verdict.VERIFIED
    written = public_rows_at_signatures([entry.frame for entry in ledger.entries])
    begin_s, refused = time.monotonic(), 0
    for number, place in enumerate(places(files, count, random)):
        with corrupted(place, random):
            check = _check(files, ledger.secrets if place.secret else None)
            assert is_located(check, place), f"{place}: {[str(problem) for problem in check.problems]}"
            if number % _COMMAND_LINE_EVERY == 0 and not place.secret:
                _check_command_line(files, certificate, place)
            refused += not _is_begun_with(files, written, place)
    seconds = time.monotonic() - begin_s
    assert _check(files).verdict is Verdict.VERIFIED, "the files were not put back"
    missed = _missed_by_a_believer(files, random)
    return {
        "seed": seed,
        "transactions": len(ledger.entries),
        "files": len(list(files.iterdir())),
        "bytes": sum(path.stat().st_size for path in files.iterdir()),
        "corruptions": count,
        "detected": count,
        "located": count,
        "read_by_a_recovering_node": {"refused": refused, "true_rows_only": count - refused},
        "nodes": started,
        "seconds": round(seconds, 1),
        "control": f"a check that believes every tree missed {missed} of {_CONTROL_COUNT} wrong bytes",
    }


def nodes_on_wrong_bytes(count: int, random: Random, directory: Path) -> dict[str, int]:
    """Start a node on each of `count` damaged copies of a service's ledger; how many refused, how many began.

    Raises where one goes on from a ledger that does not verify.
    """
    with Service.start(1, directory / "service", open_with=_APP, chunk_size="20KB") as service:
        session = service.session(user="user0")
        for number in range(60):
            body = json.dumps({"id": number, "msg": "m" * 40}).encode()
            answer = session.request("POST", f"/app/log/public?id={number}", body=body)
            assert answer.status == 200, answer.body
        assert answer.txid is not None
        session.wait_for_commit(answer.txid)
    outcomes, ledger = {"started": count, "refused": 0, "began": 0}, service.nodes[0].ledger
    recoverable = _recoverable_from(ledger)
    for number in range(count):
        copy = Path(shutil.copytree(ledger, directory / f"ledger{number}"))
        place = next(place for place in places(copy, 1000, random) if place.first_seqno > recoverable)
        damage(place, random)
        outcomes["began" if _begins(service, copy, directory / f"recovered{number}", place) else "refused"] += 1
    return outcomes


def _recoverable_from(ledger: Path) -> int:
    """The first signature after the service was opened: before it there is nothing that members could recover."""
    opened = False
    for seqno, frame in enumerate(frames_of(ledger), 1):
        writes = decode_entry(frame).writes
        opened = opened or b'"status":"Open"' in (writes.get(SERVICE_INFO, {}).get(UNIT_KEY) or b"")
        if opened and is_signature(writes):
            return seqno
    raise AssertionError("the service was never opened")


def _begins(lost: Service, ledger: Path, directory: Path, place: Place) -> bool:
    """Whether a node recovers from a ledger. What it then has must verify."""
    try:
        recovered = begin_recovery(lost, directory, ledger=ledger)
    except (AssertionError, NodeFault):
        return False
    recovered.stop()
    node = recovered.nodes[0]
    check = check_ledger(Selection([node.ledger], recovery=True), service_cert_pem=recovered.certificate)
    assert not check.problems, f"{place}: {[str(problem) for problem in check.problems]}"
    assert check.audit.identities[0].endorsed or len(check.audit.identities) == 2, f"{place}: no recovery took place"
    return True


def _is_begun_with(files: Path, written: Mapping[int, str], place: Place) -> bool:
    """Whether a node that recovers goes on from the ledger; with other rows than were written it must not."""
    try:
        restored = restore(files, files.parent / "scratch")
    except (ValueError, OSError):
        return False
    if restored.seqno == 0:
        return False  # "No signature found in the ledger to recover"
    assert restored.seqno in written, f"{place}: a node would go on after {restored.seqno}, which is no signature"
    assert restored.rows == written[restored.seqno], f"{place}: a node would go on with rows that were never written"
    return True


def _check(files: Path, secrets: LedgerSecrets | None = None) -> LedgerCheck:
    return check_ledger(Selection([files]), secrets=secrets)


def _check_command_line(files: Path, certificate: Path, place: Place) -> None:
    command = [sys.executable, "-m", "controlplane.cli", "ledger", "verify", "--directory", str(files)]
    done = subprocess.run(
        [*command, "--service-certificate", str(certificate)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (3, 4), done.stderr
    result = json.loads(done.stdout)
    told = result["problems"][0] if result["problems"] else result["tornEnd"]
    assert told["file"] == str(place.path), f"{place}: {told}"


def _missed_by_a_believer(files: Path, random: Random) -> int:
    missed = 0
    with _believer():
        for place in places(files, _CONTROL_COUNT, random):
            with corrupted(place, random):
                missed += _check(files).verdict is Verdict.VERIFIED
    assert missed, "the control: a check that believes every tree found every wrong byte"
    return missed


@contextmanager
def _believer() -> Iterator[None]:
    """A replay that takes the tree in each signature for true, so that no leaf is ever compared."""

    def believe(replay: LedgerReplay, stored: bytes, *_: object) -> None:
        replay._tree = type(replay._tree).deserialise(stored)

    with patch.object(LedgerReplay, "_check_tree", believe):
        yield


def main(arguments: list[str]) -> None:
    """The full count, saved as `docs/results/corruption.json`."""
    numbers = [int(argument) for argument in arguments]
    count, transactions, nodes, seed = (*numbers, *(1000, 5000, 20, int(time.time()))[len(numbers) :])
    with tempfile.TemporaryDirectory() as temporary:
        save("corruption", run(count, transactions, nodes, seed, Path(temporary) / "ledger"))


if __name__ == "__main__":
    main(sys.argv[1:])
