"""Result files of what an issue asks to be shown: numbers, seed, machine, date, in `docs/results/`."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def save(name: str, result: Mapping[str, object]) -> Path:
    """Write `docs/results/<name>.json` and print it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), **result}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
    return path


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and extremes of what was measured, to three places."""
    ordered = {"median": statistics.median(values), "max": max(values), "min": min(values)}
    return {name: round(value, 3) for name, value in ordered.items()}
