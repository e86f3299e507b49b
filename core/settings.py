"""Settings, read from the environment and `.env`; and where things lie under `DESK_HOME`.

Every setting has a line in `.env.example`; a test holds the two against each other.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.candles import require_product
from core.errors import ConfigError, UnknownProductError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Settings(BaseSettings):
    """All settings of Candledesk. Names in the environment are these in upper case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # where
    desk_home: Path = Path("var")
    products: Annotated[tuple[str, ...], NoDecode] = ("BTC-USD", "ETH-USD", "SOL-USD")

    # market
    provider: str = "coinbase"
    coinbase_base_url: str = "https://api.coinbase.com/api/v3/brokerage"
    coinbase_jwt_host: str = "api.coinbase.com"
    coinbase_api_key: str = ""
    coinbase_api_secret: SecretStr = SecretStr("")
    coinbase_key_file: Path | None = None
    public_requests_per_second: int = Field(10, ge=1, le=1000)
    private_requests_per_second: int = Field(30, ge=1, le=1000)
    backfill_days: int = Field(730, ge=1)
    synthetic_seed: int = 7
    ccxt_exchange: str = "coinbase"
    max_clock_skew_seconds: float = Field(30.0, gt=0)

    # features, data sets, training
    feature_set: str = "flow"
    feature_threads: int = Field(2, ge=1)
    feature_memory_mb: int = Field(2_000, ge=100)
    train_preset: Literal["market", "demo"] = "market"
    epochs: int = Field(15, ge=1)
    train_stride: int = Field(5, ge=1)
    transformer_stride: int = Field(15, ge=1)
    train_boosting: bool = True
    train_seed: int = Field(0, ge=0)
    train_members: int = Field(1, ge=1)
    train_workers: int = Field(2, ge=1)
    train_budget_seconds: float = Field(0.0, ge=0)
    train_memory_gb: float = Field(8.0, gt=0)
    task_runner: Literal["processes", "dask", "ray"] = "processes"
    task_runner_address: str = ""
    datasets_uri: str = ""
    candidates_uri: str = ""

    # gates
    gate_profile: Literal["seed", "selective", "calibrated"] = "seed"
    min_accuracy: float = Field(0.68, gt=0, le=1)
    max_calibration_error: float = Field(0.05, gt=0, le=1)

    # runtime
    mode: Literal["dryrun", "shadow", "live"] = "dryrun"
    clock: Literal["system", "exchange"] = "system"
    ensemble_lstm_weight: float = Field(0.35, ge=0)
    ensemble_transformer_weight: float = Field(0.40, ge=0)
    ensemble_boosting_weight: float = Field(0.50, ge=0)
    emit_threshold: float = Field(0.75, ge=0.5, le=1)
    tiers: Literal["fixed", "coverage"] = "fixed"
    tier_high: float = Field(0.75, ge=0.5, le=1)
    tier_medium: float = Field(0.65, ge=0.5, le=1)
    tier_margin: float = Field(0.02, ge=0, le=0.2)
    stale_after_seconds: float = Field(120.0, gt=0)
    settle_seconds: float = Field(5.0, ge=0)

    # guardrails
    kill_switch: str = "off"
    signals_per_hour: int = Field(10, ge=1)
    high_signals_per_hour: int = Field(5, ge=1)
    losses_to_block: int = Field(2, ge=1)
    loss_window_minutes: int = Field(60, ge=1)
    loss_block_minutes: int = Field(60, ge=1)
    initial_capital_usd: float = Field(100_000.0, gt=0)
    daily_loss_limit_pct: float = Field(5.0, gt=0, le=100)
    daily_loss_stop_pct: float = Field(4.5, gt=0, le=100)
    total_loss_limit_pct: float = Field(10.0, gt=0, le=100)
    total_loss_stop_pct: float = Field(9.0, gt=0, le=100)
    risk_per_trade_pct: float = Field(1.0, gt=0, le=100)
    stop_pct: float = Field(1.0, gt=0, le=100)
    target_pct: float = Field(2.0, gt=0, le=100)
    max_leverage: float = Field(2.0, gt=0)
    profit_target_pct: float = Field(10.0, gt=0)
    min_trading_days: int = Field(4, ge=1)
    reset_zone: str = "Europe/Prague"

    # execution model
    spread_bps: float = Field(12.0, ge=0)
    slippage_bps: float = Field(3.0, ge=0)
    fee_bps: float = Field(0.0, ge=0)

    # alerts
    alert_urls: SecretStr = SecretStr("")

    @field_validator("products", mode="before")
    @classmethod
    def _split_products(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("products")
    @classmethod
    def _known_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            msg = "name at least one product, such as BTC-USD"
            raise ValueError(msg)
        return tuple(require_product(product) for product in dict.fromkeys(value))

    @field_validator("reset_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            msg = f"{value!r} is no IANA time zone; write for example Europe/Prague"
            raise ValueError(msg) from error
        return value

    @model_validator(mode="after")
    def _stops_before_limits(self) -> Settings:
        if self.daily_loss_stop_pct >= self.daily_loss_limit_pct:
            msg = "DAILY_LOSS_STOP_PCT must be below DAILY_LOSS_LIMIT_PCT"
            raise ValueError(msg)
        if self.total_loss_stop_pct >= self.total_loss_limit_pct:
            msg = "TOTAL_LOSS_STOP_PCT must be below TOTAL_LOSS_LIMIT_PCT"
            raise ValueError(msg)
        if self.tier_medium > self.tier_high:
            msg = "TIER_MEDIUM must not be above TIER_HIGH"
            raise ValueError(msg)
        return self

    @cached_property
    def paths(self) -> Paths:
        """Return where things lie."""
        return Paths(self.desk_home.expanduser().absolute())

    def resolve_products(self, names: str | Sequence[str] | None) -> tuple[str, ...]:
        """Return product ids for what a person typed: nothing (all), ``BTC``, ``BTC-USD,ETH`` or a list.

        Raises:
            UnknownProductError: a short name fits no configured product.
        """
        if names is None or not names:
            return self.products
        parts = names.split(",") if isinstance(names, str) else names
        return tuple(dict.fromkeys(self._resolve(part.strip()) for part in parts))

    def _resolve(self, name: str) -> str:
        if "-" in name:
            return require_product(name)
        for product in self.products:
            if product.partition("-")[0] == name.upper():
                return product
        msg = f"no configured product starts with {name!r}; PRODUCTS is {','.join(self.products)}: name one of them, or add {name.upper()}-USD"
        raise UnknownProductError(msg)

    @property
    def has_key(self) -> bool:
        """Whether a Coinbase key is set, so that the private twin is used."""
        return bool(self.coinbase_api_key and self.coinbase_api_secret.get_secret_value()) or bool(
            self.coinbase_key_file
        )

    @property
    def alert_targets(self) -> tuple[str, ...]:
        """Apprise URLs; each holds a secret, so never print one."""
        return tuple(url.strip() for url in self.alert_urls.get_secret_value().split(",") if url.strip())


class Paths:
    """The run-time folder `DESK_HOME`; nothing made at run time lies anywhere else."""

    def __init__(self, home: Path) -> None:
        """Name the folder; nothing is created until it is needed."""
        self.home = home
        self.market_db = home / "market.duckdb"
        self.market_copy = home / "market_read.duckdb"
        self.signals_db = home / "signals.duckdb"
        self.signals_copy = home / "signals_read.duckdb"
        self.raw = home / "raw"
        self.staging = home / "raw" / "staging"
        self.datasets = home / "datasets"
        self.checkpoints = home / "models" / "checkpoints"
        self.promoted = home / "models" / "promoted"
        self.registry = home / "models" / "registry.json"
        self.reports = home / "reports"
        self.observation = home / "reports" / "observation"
        self.logs = home / "logs"
        self.kill_switch = home / "kill_switch.json"
        self.rate_limit = home / "rate_limit"

    def make(self) -> Paths:
        """Create the folders.

        Raises:
            ConfigError: the folder cannot be written.
        """
        folders = (self.staging, self.datasets, self.checkpoints, self.promoted, self.observation, self.logs)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            # a nameless file: several threads and processes may ask at the same moment
            with TemporaryFile(dir=self.home):
                pass
        except OSError as error:
            msg = f"the folder {self.home} cannot be written ({error.strerror}); set DESK_HOME to one you own"
            raise ConfigError(msg) from error
        return self


def load_settings(**overrides: object) -> Settings:
    """Read settings from the environment and `.env`; ``overrides`` win.

    Raises:
        ConfigError: one line that names each wrong setting, never its value.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic converts and checks them
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']).upper() or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        msg = f"{faults}. Correct it in the environment or in .env; .env.example explains every setting"
        raise ConfigError(msg) from None
