"""The network between simulated nodes: it delays, reorders, loses, repeats, and cuts links one way or both.

A link keeps the order of its messages, as the TCP connections of a node do, except for the share that the weather
lets overtake: a connection that breaks and is made again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is. Probabilities per message; delays in microseconds of virtual time."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0  # not held to the order of its link
    straggling: float = 0.0  # delayed by up to straggler_us more, and overtaken meanwhile
    delay_us: int = 3_000
    straggler_us: int = 400_000


CALM = Weather()


@dataclass(slots=True)
class Network:
    """Decides, for one message, when it arrives."""

    rng: random.Random
    weather: Weather = CALM
    _cuts: dict[tuple[str, str], int] = field(default_factory=dict)  # (from, to) -> how many faults cut it
    _last_us: dict[tuple[str, str], int] = field(default_factory=dict)  # latest arrival in order, by link

    def cut(self, links: list[tuple[str, str]]) -> None:
        for link in links:
            self._cuts[link] = self._cuts.get(link, 0) + 1

    def mend(self, links: list[tuple[str, str]]) -> None:
        for link in links:
            self._cuts[link] = max(0, self._cuts.get(link, 0) - 1)

    def heal(self) -> None:
        self._cuts.clear()
        self.weather = CALM

    def arrivals_us(self, sender: str, receiver: str, now_us: int) -> list[int]:
        """When a message sent now arrives: at no, one or two times."""
        if self._cuts.get((sender, receiver)):
            return []
        weather = self.weather
        roll = self.rng.random()
        if roll < weather.loss:
            return []
        copies = 2 if roll > 1 - weather.duplication else 1
        return [self._arrival_us((sender, receiver), now_us) for _ in range(copies)]

    def _arrival_us(self, link: tuple[str, str], now_us: int) -> int:
        weather = self.weather
        roll = self.rng.random()
        delay_us = 200 + int(self.rng.random() * weather.delay_us)
        if roll < weather.straggling:
            return now_us + delay_us + int(self.rng.random() * weather.straggler_us)
        if roll > 1 - weather.reordering:
            return now_us + delay_us
        arrival_us = self._last_us[link] = max(self._last_us.get(link, 0), now_us + delay_us)
        return arrival_us
