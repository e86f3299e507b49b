"""How trainings went: the losses of each check as a picture and as tables, in Markdown for the Prefect UI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from models.training.candidate import TrainedCandidate
from reports.page.figure import COLORS, SERIES, say_empty, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from models.serving.passport import TrainingCheck
    from reports.page.document import Picture

COIN_FLIP = math.log(2)
"""Log loss of saying one half every minute."""


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """One finished training."""

    name: str
    candidate_id: str
    checks: tuple[TrainingCheck, ...]
    epoch: str = "epoch"
    """What an epoch is called: of boosting, a round."""

    @property
    def counts_windows(self) -> bool:
        """Whether each check came after more windows than the one before; boosting sees all of them in every round."""
        return all(
            earlier.windows < later.windows
            for earlier, later in pairwise(self.checks)
            if earlier.member == later.member
        ) and all(check.windows for check in self.checks)

    @property
    def members(self) -> tuple[int, ...]:
        """Numbers of the networks whose logits are averaged, from 1."""
        return tuple(sorted({check.member for check in self.checks}))

    @property
    def best(self) -> tuple[TrainingCheck, ...]:
        """The check of each member whose weights were kept."""
        return tuple(
            min((check for check in self.checks if check.member == member), key=lambda check: check.early_stop_log_loss)
            for member in self.members
        )


def read_curve(folder: Path) -> TrainingCurve:
    """Read the training of the candidate in ``folder``.

    Raises:
        ModelError: its ``candidate.json`` is missing or cannot be read.
    """
    candidate = TrainedCandidate.read(folder)
    products, architecture = candidate.products, candidate.architecture
    name = f"{architecture} {products[0]}" if len(products) == 1 else architecture
    return TrainingCurve(
        name, candidate.candidate_id, candidate.history, "round" if architecture == "boosting" else "epoch"
    )


def draw_curves(curves: Sequence[TrainingCurve], name: str = "training") -> Picture:
    """Draw one row per training: log loss on the early-stop part, and the loss it was trained on."""
    caption = (
        "Left: log loss on the early-stop part at each check, the point is the one whose weights were kept, the dotted line "
        "a coin flip. Right: mean training loss since the check before. One line per member."
    )
    with sheet(name, "losses during training", caption, (10, 2.7 * max(len(curves), 1))) as page:
        grid = page.figure.subplots(max(len(curves), 1), 2, squeeze=False)
        if not curves:
            say_empty(grid[0, 0], "nothing was trained")
            grid[0, 1].axis("off")
        for curve, (left, right) in zip(curves, grid, strict=False):
            _panel(left, curve, "early_stop_log_loss", f"{curve.name}: early-stopping log loss")
            _panel(right, curve, "train_loss", f"{curve.name}: training loss")
            left.axhline(COIN_FLIP, color=COLORS["soft"], linestyle=":", linewidth=1)
    return page.picture


def _panel(axes: Axes, curve: TrainingCurve, figure: str, title: str) -> None:
    axes.set_title(title)
    counted = curve.counts_windows
    for number, member in enumerate(curve.members):
        checks = [check for check in curve.checks if check.member == member]
        steps = [check.windows / 1000 if counted else check.epoch for check in checks]
        color = COLORS[SERIES[number % len(SERIES)]]
        losses = [getattr(check, figure) for check in checks]
        axes.plot(steps, losses, color=color, marker=".", markersize=4, label=f"member {member}")
        if figure == "early_stop_log_loss":
            kept = checks.index(curve.best[number])
            axes.scatter(steps[kept], curve.best[number].early_stop_log_loss, color=color, s=36, zorder=3)
    if len(curve.members) > 1:
        axes.legend()
    axes.set_xlabel("windows seen (thousands)" if counted else curve.epoch)


def curve_markdown(curve: TrainingCurve) -> str:
    """Return picture and table of one training."""
    best = set(curve.best)
    lines = [
        f"| member | {curve.epoch} | windows | training loss | early-stopping log loss | seconds | |",
        "|" + "---|" * 7,
    ]
    lines += [
        f"| {check.member} | {check.epoch} | {check.windows:,} | {check.train_loss:.5f} | {check.early_stop_log_loss:.5f} "
        f"| {check.seconds:.1f} | {'kept' if check in best else ''} |"
        for check in curve.checks
    ]
    return f"{_embedded(draw_curves([curve]))}\n\nCandidate `{curve.candidate_id}`\n\n" + "\n".join(lines)


def overview_markdown(curves: Sequence[TrainingCurve], failures: Sequence[str] = ()) -> str:
    """Return one picture of all trainings, a line for each, and what failed."""
    lines = ["| model | members | checks | best log loss | below a coin flip | after windows | seconds | candidate |"]
    lines.append("|" + "---|" * 8)
    for curve in curves:
        kept = min(curve.best, key=lambda check: check.early_stop_log_loss)
        seconds = sum(check.seconds for check in curve.checks)
        lines.append(
            f"| {curve.name} | {len(curve.members)} | {len(curve.checks)} | {kept.early_stop_log_loss:.5f} | {COIN_FLIP - kept.early_stop_log_loss:+.5f} "
            f"| {kept.windows:,} | {seconds:.0f} | `{curve.candidate_id}` |"
        )
    parts = [_embedded(draw_curves(curves)), "\n".join(lines)] if curves else ["Nothing was trained."]
    if failures:
        parts.append("**Failed**\n\n" + "\n".join(f"- {failure}" for failure in failures))
    return "\n\n".join(parts)


def _embedded(picture: Picture) -> str:
    """Return the picture inside the text: the UI shows it without asking anyone for a file."""
    return f"![{picture.alt}]({picture.data_uri})"
