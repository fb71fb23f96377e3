"""What will happen in one simulated run, drawn from its seed: cluster, timings, faults, membership changes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from dataplane.consensus.parameters import Settings
from tests.simulation.network import Weather

OPERATIONS = 200
START_US = 400_000  # the first fault, after the first nodes have joined
END_US = 9_000_000  # everything heals


class Fault(Enum):
    ISOLATE = "isolate"  # a node, both ways
    DEAFEN = "deafen"  # a node receives nothing
    MUTE = "mute"  # nothing a node sends arrives
    SPLIT = "split"  # two groups
    ONE_WAY = "one-way"  # single links
    PAUSE = "pause"  # a process stands still, then goes on
    SLOW_DISK = "slow disk"
    CRASH = "crash"


class Change(Enum):
    JOIN = "join"
    RETIRE = "retire"
    RETIRE_LEADER = "retire leader"
    REPLACE = "replace"
    REPLACE_TWO = "replace two"


@dataclass(frozen=True, slots=True)
class Plan:
    """Times in microseconds of virtual time from the start, sorted where in sequence."""

    seed: int
    nodes: int
    settings: Settings
    pre_voters: int  # of two nodes, how many ask for pre-votes; 1: an upgrade that is half done
    weather: Weather
    wire: bool  # encode and decode every message
    sign_every_us: int
    sign_takes_us: int
    sync_us: int
    operations_us: tuple[int, ...]
    faults: tuple[tuple[int, int, Fault], ...]  # (start, duration, kind)
    changes: tuple[tuple[int, Change], ...]
    snapshots: bool  # nodes that join may begin with a snapshot, with the old ledger or without
    restarts_us: tuple[int, ...]  # all processes end at once, and the service is recovered from a disk
    beats: bool  # a process that stands still says so from a thread, and listens before it judges when it goes on


def draw_plan(seed: int) -> Plan:
    """The plan of a seed; the same for the same seed, in any process."""
    rng = random.Random(seed)
    nodes, settings = rng.randint(3, 5), _draw_settings(rng)
    # from the seed and not the next draw, so that everything else of a seed's plan is as it was before this was drawn
    pre_voters = 2 if settings.pre_vote else int(seed % 5 == 0)
    return Plan(
        seed=seed,
        nodes=nodes,
        settings=settings,
        pre_voters=pre_voters,
        weather=_draw_weather(rng),
        wire=rng.random() < 0.1,
        sign_every_us=rng.choice((30_000, 60_000, 120_000)),
        sign_takes_us=rng.choice((0, 2_000, 10_000)),
        sync_us=rng.choice((500, 5_000, 20_000)),
        operations_us=tuple(sorted(rng.randint(20_000, END_US) for _ in range(OPERATIONS))),
        faults=_draw_faults(rng),
        changes=_draw_changes(rng),
        snapshots=rng.random() < 0.6,
        restarts_us=(),
        beats=rng.random() < 0.5,
    )


def _draw_settings(rng: random.Random) -> Settings:
    """Small sizes, so that batches, windows and forgotten entries occur with small logs."""
    return Settings(
        election_timeout_ms=400,
        message_timeout_ms=40,
        max_append_bytes=rng.choice((100, 400, 256 * 1024)),
        max_append_entries=rng.choice((8, 1024)),
        max_in_flight_bytes=rng.choice((300, 2_000, 4 * 1024 * 1024)),
        max_cached_bytes=rng.choice((0, 500, 16 * 1024 * 1024)),
        pre_vote=rng.random() < 0.15,
    )


def _draw_weather(rng: random.Random) -> Weather:
    return Weather(
        loss=rng.choice((0.0, 0.01, 0.05, 0.15)),
        duplication=rng.choice((0.0, 0.05)),
        reordering=rng.choice((0.0, 0.02, 0.2, 1.0)),
        straggling=rng.choice((0.0, 0.02, 0.08)),
        delay_us=rng.choice((2_000, 10_000, 30_000)),
    )


def _draw_faults(rng: random.Random) -> tuple[tuple[int, int, Fault], ...]:
    kinds = list(Fault)
    faults = [
        (rng.randint(START_US, END_US - 200_000), rng.choice((60_000, 300_000, 900_000)), rng.choice(kinds))
        for _ in range(rng.randint(3, 9))
    ]
    return tuple(sorted(faults, key=lambda fault: fault[:2]))


def _draw_changes(rng: random.Random) -> tuple[tuple[int, Change], ...]:
    kinds = list(Change)
    changes = [(rng.randint(START_US, END_US), rng.choice(kinds)) for _ in range(rng.randint(1, 5))]
    return tuple(sorted(changes, key=lambda change: change[0]))
