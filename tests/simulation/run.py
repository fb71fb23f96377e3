"""Run many seeds and print a summary as JSON, or save it as a result file.

    python -m tests.simulation.run --seeds N [--start S | --fresh] [--machine consensus|replica]
        [--processes P] [--save NAME]

Ends non-zero when a seed fails; each failing seed is named with the command that replays it. Times are of CPU, so that
a busy machine does not change them much.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.simulation.machines import MACHINES
from tests.simulation.plan import OPERATIONS, draw_plan
from tests.simulation.simulator import SimulationFailed, simulate
from tests.support.results import save


@dataclass(frozen=True, slots=True)
class Run:
    """One seed's outcome; `failure` is empty when it passed."""

    seed: int
    cpu_s: float
    events: int = 0
    committed: int = 0
    commits: int = 0
    last_view: int = 0
    virtual_ms: int = 0
    failure: str = ""


def run_seed(machine: str, seed: int) -> Run:
    """Simulate one seed without cyclic garbage collection, which would only look for what is not there."""
    gc.disable()
    start_s = time.process_time()
    try:
        result = simulate(draw_plan(seed), MACHINES[machine])
    except SimulationFailed as failure:
        return Run(seed, time.process_time() - start_s, failure=failure.reason)
    finally:
        gc.enable()
        gc.collect()
    return Run(
        seed,
        time.process_time() - start_s,
        result.events,
        result.committed,
        result.commits,
        result.last_view,
        result.virtual_ms,
    )


def run_seeds(machine: str, seeds: Sequence[int], processes: int) -> list[Run]:
    """Simulate seeds, spread over processes; results in the order of the seeds."""
    work = [(machine, seed) for seed in seeds]
    if processes == 1:
        return [run_seed(*item) for item in work]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.starmap(run_seed, work, chunksize=8)


def summarise(machine: str, runs: Sequence[Run]) -> dict[str, object]:
    """The result file's contents. Shares are of the operations of each seed that committed."""
    passed = [run for run in runs if not run.failure]
    cpu_s = sorted(run.cpu_s for run in runs)
    shares = sorted(run.committed / OPERATIONS for run in passed) or [0.0]
    return {
        "machines": machine,
        "seeds": {"first": runs[0].seed, "count": len(runs), "passed": len(passed)},
        "failures": [asdict(run) for run in runs if run.failure],
        "events": sum(run.events for run in passed),
        "commits": sum(run.commits for run in passed),
        "virtual_s": sum(run.virtual_ms for run in passed) // 1000,
        "highest_view": max((run.last_view for run in passed), default=0),
        "operations_per_seed": OPERATIONS,
        "committed_share": {"lowest": shares[0], "mean": round(sum(shares) / len(shares), 4)},
        "cpu_s_per_seed": {
            "lowest": round(cpu_s[0], 3),
            "median": round(cpu_s[len(cpu_s) // 2], 3),
            "p99": round(cpu_s[len(cpu_s) * 99 // 100], 3),
            "highest": round(cpu_s[-1], 3),
        },
        "slowest_seed": max(runs, key=lambda run: run.cpu_s).seed,
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description="Simulate many seeds.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--fresh", action="store_true", help="start at a seed made from the time instead")
    parser.add_argument("--machine", choices=sorted(MACHINES), default="consensus")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--save", metavar="NAME", help="write docs/results/NAME.json")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error("--seeds must be at least 1")
    start = int(time.time()) if options.fresh else options.start
    seeds = range(start, start + options.seeds)
    runs = run_seeds(options.machine, seeds, options.processes)
    summary = summarise(options.machine, runs)
    if options.save:
        save(options.save, summary)
    else:
        print(json.dumps(summary, indent=2))
    for run in runs:
        if run.failure:
            command = f"python -m tests.simulation.replay --machine {options.machine} {run.seed}"
            print(f"seed {run.seed} failed: {run.failure}; replay with: {command}", file=sys.stderr)
    return 1 if summary["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
