"""A prop firm's rules as data: read from a preset or a TOML file of one's own, and checked before anything relies on them.

The engine knows shapes: what a loss is measured from, what its percent is of, and when the firm's day begins. A firm is
a file that names them; `runtime/risk/presets` has FTMO's. Whatever the engine does not know is refused, never guessed: a
rule that was read wrongly is an account lost.

Percentages are 0-100, money is in the quote currency, and both are Decimals from the file's own digits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.candles import require_product
from core.errors import ConfigError, UnknownProductError
from core.settings import removed_values

if TYPE_CHECKING:
    from core.settings import Settings

PRESETS = Path(__file__).parent / "presets"
MAX_FILE_BYTES = 65_536
STOP_SHARE = Decimal("0.9")
"""We stop at this share of a firm's limit where nothing else is said: 4.5 % for 5 %, 9 % for 10 %."""
_OLD_NAMES = {
    "DAILY_LOSS_LIMIT_PCT": ("daily_loss", "limit_pct"),
    "TOTAL_LOSS_LIMIT_PCT": ("total_loss", "limit_pct"),
    "PROFIT_TARGET_PCT": ("profit_target_pct", 0),
    "MIN_TRADING_DAYS": ("min_trading_days",),
    "RESET_ZONE": ("reset_zone",),
}
"""Settings of earlier versions -> where the rules say it now."""

Percent = Annotated[Decimal, Field(gt=0, le=100)]


@dataclass(frozen=True, slots=True)
class AccountMarks:
    """What of an account's past its limits are measured from; every figure is kept, so that rules may change."""

    day_start_balance: Decimal
    """Balance at the last reset; the initial capital on the first day."""
    day_start_equity: Decimal
    """Equity at the last reset: open positions included."""
    highest_day_start_balance: Decimal
    """The highest balance at any reset so far, the initial capital included."""
    highest_equity: Decimal
    """The highest equity at any moment so far, the initial capital included."""

    @classmethod
    def fresh(cls, capital: Decimal) -> AccountMarks:
        """Return the marks of an account that begins."""
        return cls(capital, capital, capital, capital)


class _Shape(BaseModel):
    """One table of the file: a name that means nothing here is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LossRule(_Shape):
    """One limit: equity BELOW `level` breaks it, and exactly at it does not."""

    name: ClassVar[str]
    """What events and texts call it."""
    base: str
    limit_pct: Percent
    stop_pct: Percent
    """Where we stop, before the firm does."""
    percent_of: Literal["initial_capital", "base"] = "initial_capital"
    locks_at_initial_capital: bool = False
    """Whether the level rises no further than the initial capital."""

    @model_validator(mode="before")
    @classmethod
    def _stop_in_proportion(cls, values: object) -> object:
        if (
            isinstance(values, Mapping)
            and "stop_pct" not in values
            and isinstance(values.get("limit_pct"), int | Decimal)
        ):
            return {**values, "stop_pct": STOP_SHARE * values["limit_pct"]}
        return values

    @model_validator(mode="after")
    def _is_consistent(self) -> LossRule:
        if self.stop_pct >= self.limit_pct:
            msg = f"stop_pct {self.stop_pct} must be below limit_pct {self.limit_pct}, so that we stop before the firm does"
            raise ValueError(msg)
        if self.locks_at_initial_capital and self.percent_of != "initial_capital":
            msg = 'locks_at_initial_capital needs percent_of = "initial_capital"'
            raise ValueError(msg)
        return self

    def base_usd(self, marks: AccountMarks, capital: Decimal) -> Decimal:
        """Return what the loss is measured from; a locked limit's base rises no further either."""
        match self.base:
            case "day_start_balance":
                base = marks.day_start_balance
            case "day_start_higher":
                base = max(marks.day_start_balance, marks.day_start_equity)
            case "highest_day_start_balance":
                base = max(capital, marks.highest_day_start_balance)
            case "highest_equity":
                base = max(capital, marks.highest_equity)
            case _:
                base = capital
        return min(base, capital + self._part(base, capital, self.limit_pct)) if self.locks_at_initial_capital else base

    def limit_usd(self, marks: AccountMarks, capital: Decimal) -> Decimal:
        """Return the loss that is just allowed."""
        return self._part(self.base_usd(marks, capital), capital, self.limit_pct)

    def stop_usd(self, marks: AccountMarks, capital: Decimal) -> Decimal:
        """Return the loss at which we stop."""
        return self._part(self.base_usd(marks, capital), capital, self.stop_pct)

    def _part(self, base: Decimal, capital: Decimal, percent: Decimal) -> Decimal:
        return (capital if self.percent_of == "initial_capital" else base) * percent / 100


class DailyLoss(LossRule):
    """The daily limit; its base is taken at each reset."""

    name: ClassVar[str] = "daily"
    base: Literal["day_start_balance", "day_start_higher"]


class TotalLoss(LossRule):
    """The total limit: it never resets."""

    name: ClassVar[str] = "total"
    base: Literal["initial_capital", "highest_day_start_balance", "highest_equity"]


class ProductLimits(_Shape):
    """What the firm says of one product; what it does not say is bounded by the settings alone."""

    contract_size: Decimal = Field(default=Decimal(1), gt=0)
    """Units of the base currency in one lot."""
    max_lots: Decimal | None = Field(default=None, gt=0)
    lot_step: Decimal | None = Field(default=None, gt=0)
    min_lots: Decimal | None = Field(default=None, gt=0)
    max_leverage: Decimal | None = Field(default=None, gt=0)
    """Of this product's positions together, times the smaller of capital and balance."""


class FirmRules(_Shape):
    """The rules of one firm for one account."""

    capital: Decimal = Field(gt=0)
    """From INITIAL_CAPITAL_USD, never from the file."""
    title: str
    read_on: date
    """When somebody read them on the firm's own pages."""
    source: str = ""
    commission_bps: Decimal = Field(default=Decimal(0), ge=0)
    """Each side; what FEE_BPS means when it is left empty."""
    reset_time: time = time()
    """Wall time in `reset_zone` at which the firm's day begins."""
    reset_zone: ZoneInfo
    daily_loss: DailyLoss
    total_loss: TotalLoss
    profit_target_pct: tuple[Percent, ...] = ()
    """One per phase."""
    min_trading_days: int = Field(default=0, ge=0)
    best_day_pct: Percent | None = None
    """The best day's profit is at most this share of the whole profit; more means go on, not failed."""
    max_days: int | None = Field(default=None, ge=1)
    products: dict[str, ProductLimits] = {}
    phase: int = Field(default=1, ge=1)
    """From FIRM_PHASE."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @field_validator("reset_zone", mode="before")
    @classmethod
    def _known_zone(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"{value!r} is no IANA time zone; write for example Europe/Prague or UTC"
            raise ValueError(msg) from error

    @field_validator("reset_time")
    @classmethod
    def _whole_minute(cls, value: time) -> time:
        if value.second or value.microsecond or value.tzinfo is not None:
            msg = "must be a whole minute without a time zone, such as 00:00:00; reset_zone says which clock is meant"
            raise ValueError(msg)
        return value

    @field_validator("products")
    @classmethod
    def _known_products(cls, value: dict[str, ProductLimits]) -> dict[str, ProductLimits]:
        try:
            return {require_product(name): limits for name, limits in value.items()}
        except UnknownProductError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _has_phase(self) -> FirmRules:
        if self.phase > max(1, len(self.profit_target_pct)):
            msg = f"FIRM_PHASE is {self.phase}, but profit_target_pct has {len(self.profit_target_pct)}"
            raise ValueError(msg)
        return self

    @property
    def profit_target_usd(self) -> Decimal | None:
        """Return the profit of this phase that closed positions must EXCEED, None where the firm asks for none."""
        return self.capital * self.profit_target_pct[self.phase - 1] / 100 if self.profit_target_pct else None

    def day_of(self, moment: datetime) -> date:
        """Return the date on which the firm's day that ``moment`` lies in began; the reset itself begins the new one."""
        day = moment.astimezone(self.reset_zone).date()
        return day if moment >= self._reset_on(day) else day - timedelta(days=1)

    def next_reset(self, moment: datetime) -> datetime:
        """Return the next reset after ``moment``, in UTC."""
        return self._reset_on(self.day_of(moment) + timedelta(days=1))

    def day_start(self, moment: datetime) -> datetime:
        """Return the reset at or before ``moment``, in UTC."""
        return self._reset_on(self.day_of(moment))

    def _reset_on(self, day: date) -> datetime:
        return datetime.combine(day, self.reset_time, self.reset_zone).astimezone(UTC)

    def terms(self) -> dict[str, str]:
        """Return what decides as flat text: a change of any begins a new observation."""
        values = self.model_dump(mode="python", exclude={"capital", "title", "read_on", "source"})
        flat = {
            f"{name}.{key}": own
            for name, value in values.items()
            if isinstance(value, dict)
            for key, own in value.items()
        }
        return {
            f"rules.{name}": str(value)
            for name, value in {**values, **flat}.items()
            if not isinstance(value, dict) or name.startswith("products.")
        }


def rules_from(settings: Settings) -> FirmRules:
    """Return the firm's rules that FIRM_RULES names, with the capital, the phase and the stops of the settings.

    Raises:
        ConfigError: there is no such preset or file, something in it is not known, or an old setting contradicts it.
    """
    text, label = _text(settings.firm_rules)
    stops = (settings.daily_loss_stop_pct, settings.total_loss_stop_pct)
    rules = _read(text, label, _decimal(settings.initial_capital_usd), settings.firm_phase, stops)
    _check_old_names(rules, label)
    return rules


def fee_bps(settings: Settings) -> float:
    """Return the commission of each side: FEE_BPS, or the firm's where that is left empty."""
    return float(rules_from(settings).commission_bps) if settings.fee_bps is None else settings.fee_bps


def _text(name: str) -> tuple[str, str]:
    known = sorted(path.stem for path in PRESETS.glob("*.toml"))
    path = PRESETS / f"{name}.toml" if name in known else Path(name).expanduser()
    try:
        if not path.is_file():
            msg = f"FIRM_RULES is {name!r}, which is neither a preset ({', '.join(known)}) nor a file; docs/operations.md shows how to write one"
            raise ConfigError(msg)
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            msg = f"{path} is longer than {MAX_FILE_BYTES:,} bytes, which no firm's rules are"
            raise ConfigError(msg)
        return data.decode("utf-8"), name if name in known else str(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        msg = f"the firm's rules {path} cannot be read ({error}); name a preset in FIRM_RULES: {', '.join(known)}"
        raise ConfigError(msg) from None


@lru_cache(maxsize=16)
def _read(text: str, label: str, capital: Decimal, phase: int, stops: tuple[float | None, float | None]) -> FirmRules:
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError, RecursionError) as error:
        msg = f"{label} is not TOML: {error}; docs/operations.md shows a firm's rules whole"
        raise ConfigError(msg) from None
    if own := {"capital", "phase"} & values.keys():
        msg = f"{label}: {' and '.join(sorted(own))} belong into the settings (INITIAL_CAPITAL_USD, FIRM_PHASE), not among the firm's rules"
        raise ConfigError(msg)
    for name, stop in zip(("daily_loss", "total_loss"), stops, strict=True):
        if stop is not None and isinstance(values.get(name), dict):
            values[name]["stop_pct"] = _decimal(stop)
    try:
        return FirmRules.model_validate({**values, "capital": capital, "phase": phase})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'rules'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        msg = f"the firm's rules {label} cannot be used: {faults}; docs/operations.md names what each rule may say"
        raise ConfigError(msg) from None


def _check_old_names(rules: FirmRules, label: str) -> None:
    """Refuse a setting of an earlier version that says something else: nobody's limit changes unseen."""
    for name, text in removed_values(_OLD_NAMES).items():
        value: object = rules.model_dump()
        for part in _OLD_NAMES[name]:
            value = value[part] if not isinstance(value, tuple) or value else None  # type: ignore[index]  # the path is ours
        try:
            is_same = Decimal(text) == value
        except ArithmeticError:
            is_same = text == str(value)
        if not is_same:
            where = ".".join(str(part) for part in _OLD_NAMES[name])
            msg = f"{name}={text} contradicts {where} of {label} ({value}); remove the line, or write the firm's rules into a file of your own and name it in FIRM_RULES"
            raise ConfigError(msg)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))
