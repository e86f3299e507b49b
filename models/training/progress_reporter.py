"""Keep a training's time and budget, and report how far each member is while it runs."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from models.training.run_training import TrainProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from models.training.batches import Schedule
    from models.training.candidate import TrainSpec
    from models.training.checkpoint import MemberState, TrainingState

# a report costs a line of JSON and an update of a bar: every two seconds is as often as a person looks
_REPORT_SECONDS = 2.0
_RECENT_STEPS = 50


class TrainingClock:
    """The time a training has taken, by all processes that worked on it, and its budget.

    What a killed process did after its last check is lost and not counted.
    """

    def __init__(self, budget_seconds: float, before: float) -> None:
        """Begin now, ``before`` seconds after the start; a budget of 0 is no limit."""
        self._budget, self._before, self._began = budget_seconds, before, time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self._before + time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Left of the budget; infinite without one."""
        return self._budget - self.seconds if self._budget else math.inf

    def is_over(self) -> bool:
        """Whether the budget is used up."""
        return self.left <= 0


class ProgressReporter:
    """Report how far one member of a training is: every two seconds, and after each check."""

    def __init__(
        self,
        spec: TrainSpec,
        clock: TrainingClock,
        state: TrainingState,
        schedule: Schedule,
        number: int,
        member: MemberState,
        on_progress: Callable[[TrainProgress], None],
    ) -> None:
        """Watch ``member``, the one with that ``number``, counted from 0."""
        self._spec, self._clock, self._state, self._on_progress = spec, clock, state, on_progress
        self._schedule, self._number, self._member = schedule, number, member
        self._first, self._began, self._reported = member.step, time.monotonic(), 0.0

    def step(self, losses: list[Tensor]) -> None:
        """Count a step; report if nothing was reported for two seconds."""
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._report(losses, None)

    def check(self, losses: list[Tensor], watched: float) -> None:
        """Report a check."""
        self._report(losses, watched)

    def _report(self, losses: list[Tensor], watched: float | None) -> None:
        self._reported = time.monotonic()
        spec, member, last = self._spec, self._member, self._member.step - 1
        step, steps = self._schedule.step_of_epoch(last)
        patience_left = spec.patience - (member.checks - member.best_check)
        recent = losses[-_RECENT_STEPS:]
        self._on_progress(
            TrainProgress(
                name=spec.name,
                epoch=self._schedule.epoch(last) + 1,
                epochs=spec.epochs,
                step=step + 1,
                steps=steps,
                train_loss=float(sum(recent)) / len(recent),
                early_stop_loss=watched,
                seconds=self._clock.seconds,
                seconds_left=self._seconds_left(),
                member=self._number + 1,
                members=spec.members,
                checks_left=patience_left if spec.patience else None,
                ended_by=self._state.ended_by(self._number),
            )
        )

    def _seconds_left(self) -> float:
        """Return the time to the end of all epochs of this member and of the members after it, within the budget."""
        ended_by = self._state.ended_by(self._number)
        if ended_by == "budget":
            return 0.0
        steps, done = self._schedule.steps, self._member.step
        each = (time.monotonic() - self._began) / max(1, done - self._first)
        finished = [self._state.seconds_of(number) for number in range(self._number + bool(ended_by))]
        another = sum(finished) / len(finished) if finished else each * steps
        own = 0.0 if ended_by else each * (steps - done)
        return max(0.0, min(own + (self._spec.members - self._number - 1) * another, self._clock.left))
