"""`python -m tests.mutants.find WORD [--seeds N]`: which seeds catch the mutants whose name contains the word.

To be run when a change of the core or of the simulator has moved the seeds in `mutants.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from tests.mutants.mutants import MUTANTS, Mutant, build
from tests.simulation.machine import consensus_machines
from tests.simulation.plan import draw_plan
from tests.simulation.simulator import SimulationFailed, simulate


def catches(mutant: Mutant, seeds: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Seeds that catch the mutant, and what the checker says."""
    kind = consensus_machines(build(mutant))
    for seed in seeds:
        try:
            simulate(draw_plan(seed), kind)
        except SimulationFailed as failure:
            yield seed, failure.reason


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.find")
    parser.add_argument("word")
    parser.add_argument("--seeds", type=int, default=100, help="how many to try, from 0")
    options = parser.parse_args(arguments)
    for mutant in MUTANTS:
        if options.word in mutant.name:
            for seed, reason in catches(mutant, range(options.seeds)):
                print(f"{mutant.name}: seed {seed}: {reason}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
