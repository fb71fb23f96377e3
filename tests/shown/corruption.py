"""One wrong byte anywhere in a ledger is found and located by `mccf ledger verify`, a thousand times.

    python -m tests.shown.corruption [COUNT] [TRANSACTIONS] [SEED]

The ledger has two views, a rekey and a recovery, and ends with a signature. Bytes are drawn over all files, by size. A
byte counts as located when the first problem names its file and its entry, or, for a chunk's header and positions
table, its file. The 48 bytes of the newest signature that only ledger secrets can check are checked with them. Some of
the checks go through the real command line. The control: the same bytes against a check that believes every tree.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest.mock import patch

from dataplane.client.audit import Selection
from dataplane.client.ledger_check import LedgerCheck, Verdict, check_ledger
from dataplane.ledger.replay import LedgerReplay
from dataplane.ledger.secrets import LedgerSecrets
from tests.support.corruption import Place, corrupted, eventful_ledger, is_located, places
from tests.support.results import save

_COMMAND_LINE_EVERY = 50
_CONTROL_COUNT = 40


def run(count: int, transactions: int, seed: int, directory: Path) -> dict[str, object]:
    """Raises where a wrong byte is not found at its place, a good ledger is refused, or the control finds all."""
    random = Random(seed)
    ledger = eventful_ledger(transactions)
    files = ledger.write_to(directory)
    certificate = directory.parent / f"{directory.name}_service_cert.pem"
    certificate.write_text(ledger.service_cert)
    assert _check(files).verdict is Verdict.VERIFIED
    begin_s = time.monotonic()
    for number, place in enumerate(places(files, count, random)):
        with corrupted(place, random):
            check = _check(files, ledger.secrets if place.secret else None)
            assert is_located(check, place), f"{place}: {[str(problem) for problem in check.problems]}"
            if number % _COMMAND_LINE_EVERY == 0 and not place.secret:
                _check_command_line(files, certificate, place)
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
        "seconds": round(seconds, 1),
        "control": f"a check that believes every tree missed {missed} of {_CONTROL_COUNT} wrong bytes",
    }


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
    count, transactions, seed = (*numbers, *(1000, 5000, int(time.time()))[len(numbers) :])
    with tempfile.TemporaryDirectory() as temporary:
        save("corruption", run(count, transactions, seed, Path(temporary) / "ledger"))


if __name__ == "__main__":
    main(sys.argv[1:])
