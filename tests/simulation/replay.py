"""`python -m tests.simulation.replay SEED [--machine consensus|replica]`: run one seed again, print its whole trace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.simulation.machines import MACHINES
from tests.simulation.plan import draw_plan
from tests.simulation.simulator import SimulationFailed, simulate


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.replay", description="Replay one seed.")
    parser.add_argument("seed", type=int)
    parser.add_argument("--machine", choices=sorted(MACHINES), default="consensus")
    options = parser.parse_args(arguments)
    try:
        result = simulate(draw_plan(options.seed), MACHINES[options.machine], keep_trace=True)
    except SimulationFailed as failure:
        print("\n".join(failure.trace))
        print(f"FAILED seed {failure.seed}: {failure.reason}")
        return 1
    print("\n".join(result.trace))
    print(f"passed seed {result.seed}: {result.committed} operations committed in {result.events} events")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
