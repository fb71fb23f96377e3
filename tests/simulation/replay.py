"""`python -m tests.simulation.replay SEED`: run one seed again and print its whole trace."""

from __future__ import annotations

import sys

from tests.simulation.plan import draw_plan
from tests.simulation.simulator import SimulationFailed, simulate


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].isdigit():
        print("usage: python -m tests.simulation.replay SEED", file=sys.stderr)
        return 2
    plan = draw_plan(int(arguments[0]))
    try:
        result = simulate(plan, keep_trace=True)
    except SimulationFailed as failure:
        print("\n".join(failure.trace))
        print(f"FAILED seed {failure.seed}: {failure.reason}")
        return 1
    print("\n".join(result.trace))
    print(f"passed seed {result.seed}: {result.committed} operations committed in {result.events} events")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
