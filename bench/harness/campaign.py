"""Decides what runs when: rounds of fresh processes, every order shuffled, progress on stderr.

Within a round the allocators run next to each other for one workload, in an order drawn anew, so
that whatever changes on the machine over minutes reaches all of them. A run that does not finish in
time or fails is recorded; it is not tried in later rounds, and never dropped.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from typing import Callable

from .allocators import Allocator
from .runner import Sample

# Floors run on no preload at all.
NO_ALLOCATOR = Allocator("none", "none", None, "", "", "", "", {})


@dataclass
class Unit:
    """Something to measure: a workload or an app, as a function of allocator and round."""

    name: str
    kind: str
    run: Callable[[Allocator, int], Sample]


@dataclass
class Plan:
    """How often, how long, and in which order."""

    rounds: int
    idle_rounds: int
    seed: int
    budget_seconds: float | None = None  # None: take the time it takes


@dataclass
class Progress:
    """Estimates the time left from how long each pair took last, and says so now and then."""

    total: int
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    took: dict[tuple[str, str], float] = field(default_factory=dict)
    last_said: float = 0.0

    def expected(self, unit: str, allocator: str) -> float:
        known = self.took.get((unit, allocator))
        if known is None:
            known = sum(self.took.values()) / len(self.took) if self.took else 1.0
        return known

    def note(self, unit: str, allocator: str, seconds: float) -> None:
        self.took[(unit, allocator)] = seconds
        self.done += 1

    def say(self, text: str, seconds_left: float) -> None:
        now = time.monotonic()
        on_terminal = sys.stderr.isatty()
        if not on_terminal and now - self.last_said < 20:
            return
        self.last_said = now
        share = 100 * self.done / max(1, self.total)
        line = f"bench: {share:3.0f}% {text}, about {seconds_left / 60:.1f} min left"
        print(f"\r\033[K{line}" if on_terminal else line, end="" if on_terminal else "\n",
              file=sys.stderr, flush=True)


class Campaign:
    """One interleaved measurement of units under allocators."""

    def __init__(self, units: list[Unit], allocators: list[Allocator], plan: Plan) -> None:
        self.units = units
        self.allocators = allocators
        self.plan = plan
        self.samples: list[Sample] = []
        self.given_up: set[tuple[str, str]] = set()
        self.not_reached: list[str] = []
        self.cut_short: list[str] = []
        self.rounds_done = 0
        self.progress = Progress(sum(self.count(unit) for unit in units))

    def rounds_of(self, unit: Unit) -> int:
        return min(self.plan.rounds, self.plan.idle_rounds) if unit.kind == "idle" \
            else self.plan.rounds

    def runners_of(self, unit: Unit) -> list[Allocator]:
        return [NO_ALLOCATOR] if unit.kind == "floor" else self.allocators

    def count(self, unit: Unit) -> int:
        return self.rounds_of(unit) * len(self.runners_of(unit))

    def time_left(self) -> float:
        """Seconds until the budget is spent; infinity without one."""
        if self.plan.budget_seconds is None:
            return float("inf")
        return self.plan.budget_seconds - (time.monotonic() - self.progress.started)

    def estimate(self, number: int, later_units: list[Unit]) -> float:
        """What the rest of this round and all later ones should take."""
        def of(unit: Unit) -> float:
            return sum(self.progress.expected(unit.name, allocator.name)
                       for allocator in self.runners_of(unit)
                       if (unit.name, allocator.name) not in self.given_up)

        rest = sum(of(unit) for unit in later_units)
        for later in range(number + 1, self.plan.rounds):
            rest += sum(of(unit) for unit in self.units if later < self.rounds_of(unit))
        return min(rest, max(0.0, self.time_left()))

    def run(self) -> list[Sample]:
        rng = random.Random(self.plan.seed)
        for number in range(self.plan.rounds):
            order = [unit for unit in self.units if number < self.rounds_of(unit)]
            rng.shuffle(order)
            skipped = [unit.name for position, unit in enumerate(order)
                       if not self.run_unit(unit, number, rng, order[position:])]
            if number == 0:
                self.not_reached = skipped
            if len(skipped) < len(order):
                self.rounds_done = number + 1
            if skipped and self.time_left() < 2:
                break
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        return self.samples

    def run_unit(self, unit: Unit, number: int, rng: random.Random, rest: list[Unit]) -> bool:
        """All allocators of one unit in one round; False when there is no time for them."""
        runners = [allocator for allocator in self.runners_of(unit)
                   if (unit.name, allocator.name) not in self.given_up]
        needed = sum(self.progress.expected(unit.name, a.name) for a in runners)
        if self.time_left() < (needed if number > 0 else 0):
            return False
        rng.shuffle(runners)
        for position, allocator in enumerate(runners):
            if self.time_left() <= 0:
                left = ", ".join(a.name for a in runners[position:])
                self.cut_short.append(f"{unit.name} in round {number + 1} on {left}")
                return True
            self.progress.say(f"round {number + 1}/{self.plan.rounds} {unit.name} on "
                              f"{allocator.name}", self.estimate(number, rest))
            begun = time.monotonic()
            sample = unit.run(allocator, number)
            self.progress.note(unit.name, allocator.name, time.monotonic() - begun)
            self.samples.append(sample)
            if sample.status != "ok":
                self.given_up.add((unit.name, allocator.name))
        return True
