"""Measure, print a table, write JSON.

    python -m tests.bench [--seconds 3] [--repeats 3] [--output FILE]
        [--only codec,http,js,node,images,times,history,verify,snapshots,recovery,put]

Beside each figure that is a time stands its ratio to a calibration loop of the same run (`rows.calibrate`), which is
taken before and after, so that figures of different machines and moments can be compared; a change of the loop during
the run is reported. Load comes from `tests.bench.load`, on the same machine as the nodes.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import (
    bench_codec,
    bench_history,
    bench_http,
    bench_js,
    bench_node,
    bench_put,
    bench_recovery,
    bench_snapshots,
    bench_times,
    bench_verify,
)
from tests.bench.rows import Effort, Row, calibrate
from tests.support.results import RESULTS, machine

_METHOD = (
    "60-byte body, one kv.set, closed loop, one request in flight per connection unless the shape CxD says a "
    "pipelining depth D; load generator tests/bench/load.py (plain Python, own process, same machine); CPU is user and "
    "system time of the process from /proc/<pid>/stat over the measured window, divided by the answers in it; the "
    "median run counts; CCF's default signature interval (1 s, 5,000 transactions) and election timeout (5 s), except "
    "for outages, where nodes run with the settings the control plane writes."
)


def _js(effort: Effort) -> list[Row]:
    rows = []
    for row in bench_js.run(min(0.5, effort.seconds), effort.repeats):
        cpu_us = float(str(row["cpu_us"]))
        if row["name"] != "calibration loop":  # that module's own; here all rows share one
            rows.append(Row("js", str(row["name"]), cpu_us, "us CPU", cpu_us))
    return rows


_MODULES: dict[str, Callable[[Effort], list[Row]]] = {
    "codec": bench_codec.run,
    "http": bench_http.run,
    "js": _js,
    "node": bench_node.run,
    "images": bench_node.run_images,
    "times": bench_times.run,
    "history": bench_history.run,
    "verify": bench_verify.run,
    "snapshots": bench_snapshots.run,
    "recovery": bench_recovery.run,
    "put": bench_put.run,
}


def main(arguments: list[str]) -> int:
    """Non-zero when something could not be measured; the rest is printed and written all the same."""
    options = _options(arguments)
    effort = Effort(options.seconds, options.repeats)
    before_us = calibrate()
    print(f"calibration loop {before_us:.1f} us CPU", flush=True)
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name in options.only:
        try:
            measured = _MODULES[name](effort)
        except Exception as error:
            traceback.print_exc(limit=-3)
            failures[name] = f"{type(error).__name__}: {error}"
            continue
        rows += measured
        for row in measured:
            print(_line(row, before_us), flush=True)
    after_us = calibrate()
    _save(options.output, rows, (before_us, after_us), effort, failures)
    print(f"calibration loop afterwards {after_us:.1f} us CPU; written to {options.output}")
    for name, reason in failures.items():
        print(f"NOT MEASURED: {name}: {reason}")
    return 1 if failures else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure; print a table; write JSON.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measured window")
    parser.add_argument("--repeats", type=int, default=3, help="runs per row")
    parser.add_argument("--only", type=_names, default=list(_MODULES), help=f"of {','.join(_MODULES)}")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench.json", help="where the JSON goes")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = sorted(set(names) - set(_MODULES))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(_MODULES)}")
    return names


def _line(row: Row, calibration_us: float) -> str:
    ratio = row.ratio(calibration_us)
    shown = "" if ratio is None else f"{ratio:9.3f}"
    rate = f"{row.detail['rate']:>9,.0f}/s" if "rate" in row.detail else " " * 11
    latency = f"p50 {row.detail['p50_ms']:>7} p99 {row.detail['p99_ms']:>7} ms" if "p50_ms" in row.detail else ""
    return f"{row.group:8}{row.name:52}{row.value:>10,.6g} {row.unit:12}{shown:>10} {rate} {latency}".rstrip()


def _save(
    output: Path, rows: list[Row], calibration_us: tuple[float, float], effort: Effort, failures: dict[str, str]
) -> None:
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "method": _METHOD,
        "effort": asdict(effort),
        "calibration_us": {"before": round(calibration_us[0], 1), "after": round(calibration_us[1], 1)},
        "rows": [_document(row, calibration_us[0]) for row in rows],
        "not_measured": failures,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n")


def _document(row: Row, calibration_us: float) -> dict[str, object]:
    ratio = row.ratio(calibration_us)
    return {**asdict(row), "ratio": None if ratio is None else round(ratio, 3)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
