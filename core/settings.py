"""Settings, read from the environment and `.env`; and where things lie under `DESK_HOME`.

Every setting has a line in `.env.example`; a test holds the two against each other. An empty setting means its default,
and a name that resembles a setting without being one is an error: a mistyped guardrail would otherwise be off in silence.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Literal

from dotenv.parser import Binding, parse_stream
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.candles import require_product
from core.errors import ConfigError, UnknownProductError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REMOVED = {
    "COINBASE_STREAM_URL": "the trade stream is gone, `desk follow` polls",
    "LIVE_SOURCE": "there is one live feed, it polls",
    **dict.fromkeys(
        ("DAILY_LOSS_LIMIT_PCT", "TOTAL_LOSS_LIMIT_PCT", "PROFIT_TARGET_PCT", "MIN_TRADING_DAYS", "RESET_ZONE"),
        "the firm's rules say it, FIRM_RULES names them",
    ),
}
"""Settings of earlier versions, with the reason; they stop nobody, `desk doctor` names them."""

_SECRETS = {"COINBASE_API_SECRET", "ALERT_URLS", "HEARTBEAT_URL", "DATASETS_URI", "CANDIDATES_URI"}

_FOREIGN = {"AWS", "COMPOSE", "DASK", "DOCKER", "GIT", "MKL", "OMP", "PIP", "POLARS", "PREFECT", "PYTHON", "RAY", "SSL"}
"""First words of other programs' names, which are never taken for ours mistyped."""

_URL_BORDER = re.compile(r"[\s,]+(?=[a-z0-9]{1,32}://)", re.IGNORECASE)
"""Where Apprise itself parts one URL from the next: a comma inside a URL is part of it."""


class Settings(BaseSettings):
    """All settings of Candledesk. Names in the environment are these in upper case."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
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
    runtime_port: int = Field(0, ge=0, le=65535)

    # guardrails
    kill_switch: str = "off"
    signals_per_hour: int = Field(10, ge=1)
    high_signals_per_hour: int = Field(5, ge=1)
    losses_to_block: int = Field(2, ge=1)
    loss_window_minutes: int = Field(60, ge=1)
    loss_block_minutes: int = Field(60, ge=1)
    initial_capital_usd: float = Field(100_000.0, gt=0)
    firm_rules: str = "ftmo-2-step"
    firm_phase: int = Field(1, ge=1)
    daily_loss_stop_pct: float | None = Field(None, gt=0, le=100)
    total_loss_stop_pct: float | None = Field(None, gt=0, le=100)
    risk_per_trade_pct: float = Field(1.0, gt=0, le=100)
    stop_pct: float = Field(1.0, gt=0, le=100)
    target_pct: float = Field(2.0, gt=0, le=100)
    max_leverage: float = Field(2.0, gt=0)
    max_positions_per_product: int = Field(1, ge=1)

    # execution model
    spread_bps: float = Field(12.0, ge=0)
    slippage_bps: float = Field(3.0, ge=0)
    fee_bps: float | None = Field(None, ge=0)

    # alerts
    alert_urls: SecretStr = SecretStr("")
    heartbeat_url: SecretStr = SecretStr("")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_default(cls, values: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in values.items() if not (isinstance(value, str) and not value.strip())}

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

    @model_validator(mode="after")
    def _tiers_in_order(self) -> Settings:
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
        text = self.alert_urls.get_secret_value().strip(" \t\n,")
        return tuple(_URL_BORDER.split(text)) if text else ()


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
        self.runtime_address = home / "runtime.json"
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
        ConfigError: one line that names each wrong setting, never its value; also for a name that is nearly a setting's.
    """
    _refuse_mistyped()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic converts and checks them
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']).upper() or 'settings'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        msg = f"{faults}. Correct it in the environment or in .env; .env.example explains every setting"
        raise ConfigError(msg) from None


def settings_file() -> Path | None:
    """Return the `.env` that counts, that of the current folder, whole; None where there is none."""
    file = Settings.model_config.get("env_file")
    return Path(file).resolve() if isinstance(file, str | Path) and Path(file).is_file() else None


def exposed_files(settings: Settings) -> list[str]:
    """Return a warning, with its repair, for `.env` and the key file where another user may change or read what matters."""
    own, warnings = settings_file(), []
    holds_secret = any(binding.value and binding.key in _SECRETS for binding in _env_file_lines())
    for file, is_secret in ((own, holds_secret), (settings.coinbase_key_file, True)):
        if file is None or not file.is_file():
            continue
        status = file.stat()
        if status.st_uid not in {os.geteuid(), 0}:
            warnings.append(f"{file} belongs to another user, who decides what is set here; make your own copy")
        elif status.st_mode & 0o022:
            warnings.append(
                f"others may write {file}, and so decide what is set here; run: chmod 600 {shlex.quote(str(file))}"
            )
        elif is_secret and status.st_mode & 0o044:
            warnings.append(f"others may read the secrets in {file}; run: chmod 600 {shlex.quote(str(file))}")
    return warnings


def unknown_names() -> list[str]:
    """Return the names in `.env` that are no settings, in its order; those of `REMOVED` among them."""
    names = [binding.key for binding in _env_file_lines() if binding.key]
    return [name for name in dict.fromkeys(names) if name.lower() not in Settings.model_fields]


def removed_values(names: Iterable[str]) -> dict[str, str]:
    """Return what the environment, else `.env`, still sets of settings that are gone; empty text sets nothing."""
    filed = {binding.key: binding.value or "" for binding in _env_file_lines() if binding.key}
    values = {name: os.environ.get(name, filed.get(name, "")).strip() for name in names}
    return {name: value for name, value in values.items() if value}


def _env_file_lines() -> list[Binding]:
    """Return the lines of the settings file, empty where there is none.

    Raises:
        ConfigError: it cannot be read as text.
    """
    file = settings_file()
    if file is None:
        return []
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file} cannot be read as UTF-8 text ({error}); write it anew: cp .env.example {file}"
        raise ConfigError(msg) from None


def _refuse_mistyped() -> None:
    """Refuse names that resemble a setting, and lines of `.env` that set nothing.

    Raises:
        ConfigError: it names each of them and the nearest setting, never a value.
    """
    faults = _faulty_lines(_env_file_lines())
    faults += [f".env sets {name}, which is no setting; {near} is" for name, near in _mistyped(unknown_names(), 0.8)]
    # many programs share the environment: there only what is nearly a whole name of two words or more
    faults += [
        f"the environment sets {name}, which is no setting; {near} is"
        for name, near in _mistyped(os.environ, 0.86)
        if "_" in near
    ]
    if faults:
        msg = f"{'; '.join(faults)}. Correct or remove it; .env.example lists every setting"
        raise ConfigError(msg)


def _faulty_lines(lines: Iterable[Binding]) -> list[str]:
    """Return what is wrong with lines that set nothing; the lines of a pasted key are one fault, and never shown."""
    key, others, is_inside = "", [], False
    for line in lines:
        text, number = line.original.string, line.original.line
        is_begun = "-----BEGIN" in text and (line.error or (line.key and "-----END" not in (line.value or "")))
        if is_begun and not key:
            key = (
                f".env, line {number}: a key of several lines stands without its quotes; paste it between double quotes, from "
                "-----BEGIN to -----END, or in one line with \\n between its lines, or name its file in COINBASE_KEY_FILE"
            )
        elif not is_inside and not is_begun and (line.error or (line.key and line.value is None)):
            others.append(
                f".env, line {number} is not NAME=value and would set nothing (quotes stand around the whole value, with nothing behind)"
            )
        is_inside = (is_inside or bool(is_begun)) and "-----END" not in text
    return [key, *others] if key else others


def _mistyped(names: Iterable[str], cutoff: float) -> list[tuple[str, str]]:
    """Return each name that resembles a setting, with that setting."""
    strange = (name for name in names if name.lower() not in Settings.model_fields and name.upper() not in REMOVED)
    pairs = ((name, _nearest(name, cutoff)) for name in strange if name.upper().partition("_")[0] not in _FOREIGN)
    return [(name, near) for name, near in pairs if near is not None]


def _nearest(name: str, cutoff: float) -> str | None:
    """Return the setting whose name is like ``name`` but for separators, the order of words, and a few letters."""
    words = re.sub(r"^(?:CANDLE)?DESK_(?!HOME)", "", re.sub(r"\W", "_", name.upper())).split("_")
    settings = [field.upper() for field in Settings.model_fields]
    for sort in (list, sorted):
        squashed = {"".join(sort(setting.split("_"))): setting for setting in settings}
        near = difflib.get_close_matches("".join(sort(words)), squashed, 1, cutoff)
        if near:
            return squashed[near[0]]
    # DAILY_LOSS for DAILY_LOSS_LIMIT_PCT: two of its words, from its start
    begun = [setting for setting in settings if len(words) > 1 and setting.split("_")[: len(words)] == words]
    return begun[0] if begun else None
