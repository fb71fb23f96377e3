"""The kinds of machine that can be simulated, by name."""

from __future__ import annotations

from tests.simulation.machine import consensus_machines
from tests.simulation.replica_machine import REPLICAS

MACHINES = {"consensus": consensus_machines(), "replica": REPLICAS}
