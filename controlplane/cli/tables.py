"""Results as tables, for `--output table`: rows of a few columns."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def ledger_verification(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The problems as a table, or one line that says there is none."""
    if result["problems"]:
        return [
            OrderedDict(
                File=Path(problem["file"]).name,
                Offset=_dash(problem["offset"]),
                Seqno=_dash(problem["seqno"]),
                Reason=problem["reason"],
            )
            for problem in result["problems"]
        ]
    names = ("verdict", "firstSeqno", "lastTxId", "lastSigned", "unsignedEntries", "signatures", "serviceStatus")
    return [OrderedDict((name[0].upper() + name[1:], _dash(result[name])) for name in names)]


def _dash(value: object) -> object:
    return "-" if value is None else value
