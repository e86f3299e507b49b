"""The runtime's money against the oracle: a thousand random weeks here, a hundred thousand by command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runtime.risk.guardrails import Guardrails
from runtime.risk.paper_account import Account
from tests.campaign.money_weeks import run_weeks

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = {
    "daily_warn_60", "daily_warn_80", "daily_loss", "total_warn_60", "total_warn_80", "total_loss", "firm_limit",
    "loss_streak", "profit_target",
}  # fmt: skip
"""What each run must have met, or it shows nothing."""


@pytest.mark.parametrize("first", range(1, 1001, 250))
def test_money_agrees_with_the_oracle_to_the_cent(first: int) -> None:
    tally = run_weeks(range(first, first + 250))
    assert tally.differences == []
    assert set(tally.events) == EVERY
    assert tally.signals > 2_000
    assert tally.restarts > 20
    assert tally.late > 100


def _late_roll(honest: Callable[..., bool]) -> Callable[..., bool]:
    return lambda self, moment, balance, equity: honest(self, moment, balance, balance)


def _closes_only(honest: Callable[..., list[object]]) -> Callable[..., list[object]]:
    return lambda self, moment, equity, span=None: honest(self, moment, equity)


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (Guardrails, "roll", _late_roll),
        (Guardrails, "assess", _closes_only),
        (Account, "is_full", lambda honest: lambda self, product: False),
    ],
)
def test_oracle_notices(monkeypatch: pytest.MonkeyPatch, where: type, name: str, fault: Callable[..., object]) -> None:
    """An oracle that nothing can disagree with would prove nothing."""
    monkeypatch.setattr(where, name, fault(getattr(where, name)))
    assert run_weeks(range(1, 60)).differences
