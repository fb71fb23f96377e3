"""The network between simulated nodes: it delays, reorders, loses, repeats, and cuts links one way or both."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is. Probabilities per message; delays in microseconds of virtual time."""

    loss: float = 0.0
    duplication: float = 0.0
    straggling: float = 0.0  # delayed by up to straggler_us instead of up to delay_us
    delay_us: int = 3_000
    straggler_us: int = 400_000


CALM = Weather()


@dataclass(slots=True)
class Network:
    """Decides, for one message, at which delays it arrives: none when lost, two when repeated."""

    rng: random.Random
    weather: Weather = CALM
    _cuts: dict[tuple[str, str], int] = field(default_factory=dict)  # (from, to) -> how many faults cut it

    def cut(self, links: list[tuple[str, str]]) -> None:
        for link in links:
            self._cuts[link] = self._cuts.get(link, 0) + 1

    def mend(self, links: list[tuple[str, str]]) -> None:
        for link in links:
            self._cuts[link] = max(0, self._cuts.get(link, 0) - 1)

    def heal(self) -> None:
        self._cuts.clear()
        self.weather = CALM

    def delays_us(self, sender: str, receiver: str) -> list[int]:
        if self._cuts.get((sender, receiver)):
            return []
        weather = self.weather
        roll = self.rng.random()
        if roll < weather.loss:
            return []
        copies = 2 if roll > 1 - weather.duplication else 1
        return [self._delay_us() for _ in range(copies)]

    def _delay_us(self) -> int:
        weather = self.weather
        limit_us = weather.delay_us
        if weather.straggling and self.rng.random() < weather.straggling:
            limit_us = weather.straggler_us
        return 200 + int(self.rng.random() * limit_us)
