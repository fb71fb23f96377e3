"""Each known bug is caught by the simulator at a named seed, which the core as it is passes."""

import re

import pytest

from tests.mutants.mutants import MUTANTS, Mutant, build
from tests.simulation.machine import consensus_machines
from tests.simulation.plan import draw_plan
from tests.simulation.simulator import SimulationFailed, simulate


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant: Mutant) -> None:
    with pytest.raises(SimulationFailed) as caught:
        simulate(draw_plan(mutant.seed), consensus_machines(build(mutant)))
    assert re.search(mutant.symptom, caught.value.reason)
    assert f"python -m tests.simulation.replay {mutant.seed}" in str(caught.value)


@pytest.mark.parametrize("seed", sorted({mutant.seed for mutant in MUTANTS}))
def test_core_passes_the_same_seed(seed: int) -> None:
    simulate(draw_plan(seed))
