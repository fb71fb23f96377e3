"""Fuzz one parser in this process, and print what was seen as JSON.

python -m tests.fuzz.run TARGET COUNT SEED
python -m tests.fuzz.run TARGET --input INDEX SEED     one input of such a run, as base64, and what it does
"""

import base64
import faulthandler
import json
import sys
import warnings

from cryptography.utils import CryptographyDeprecationWarning

from tests.fuzz.broken import EVERYTHING
from tests.fuzz.harness import Report, fuzz, mutant, replay


def main(arguments: list[str]) -> int:
    """Non-zero when there is a finding."""
    faulthandler.enable()
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # as nodes do
    target = EVERYTHING[arguments[0]]
    if arguments[1] == "--input":
        data = mutant(target, int(arguments[3]), int(arguments[2]))
        print(base64.b64encode(data).decode())
        print(replay(target, data))
        return 0
    report = fuzz(target, int(arguments[1]), int(arguments[2]))
    print(json.dumps(summary(report)))
    return 1 if report.findings else 0


def summary(report: Report) -> dict[str, object]:
    """A report as JSON."""
    return {
        "target": report.target,
        "taken": report.taken,
        "refused": report.refused,
        "slowest_ms": round(report.slowest_ms, 1),
        "grown_bytes": report.grown_bytes,
        "findings": [str(finding) for finding in report.findings],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
