"""A seeded observation: three days of three coins, as the runtime would have left it."""

import json
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.settings import Settings, load_settings
from models.gates.feasibility import CoverageFigures, feasibility
from store.database import publish, write_transaction
from store.schema import apply_schema
from store.sql_files import load_sql
from tests.judged_models import passport_json

START = datetime(2025, 3, 3, 0, 0, tzinfo=UTC)
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
PRICES = {"BTC-USD": 90_000.0, "ETH-USD": 2_200.0, "SOL-USD": 140.0}
MODELS = {"BTC-USD": "lstm-BTC-USD-1a2b3c4d", "ETH-USD": "lstm-ETH-USD-5e6f7a8b"}
TABLES = (
    "sessions",
    "session_ends",
    "decisions",
    "signals",
    "outcomes",
    "outbox",
    "deliveries",
    "equity",
    "risk_events",
    "feature_drift",
)


@dataclass
class FakeObservation:
    """What to invent; every field is one way in which observations differ."""

    home: Path
    minutes: int = 3 * 1440
    start: datetime = START
    mode: str = "dryrun"
    promoted: tuple[str, ...] = ("BTC-USD", "ETH-USD")
    accuracy: float = 0.8
    source: str = "local:planted"
    undelivered: int = 0
    missing: tuple[int, ...] = ()
    crash_at: int | None = None
    is_open: bool = False
    baseline_win_rate: float | None = 0.76
    rows: dict[str, list[dict]] = field(default_factory=dict)

    def build(self) -> Settings:
        """Write both databases, the passports, the registry and the baseline; publish."""
        settings = load_settings(desk_home=self.home, mode=self.mode, _env_file=None)
        settings.paths.make()
        self.rows = {name: [] for name in TABLES}
        self._sessions()
        self._decide()
        self._drift()
        with write_transaction(settings.paths.signals_db) as connection:
            apply_schema(connection, "signals")
            for name, rows in self.rows.items():
                _insert(connection, name, rows)
        publish(settings.paths.signals_db, settings.paths.signals_copy)
        self._market(settings)
        return settings

    # the runtime's side

    def _sessions(self) -> None:
        cut = self.crash_at
        starts = [0] if cut is None else [0, cut]
        for number, start in enumerate(starts):
            slots = ",".join(f"lstm:{product}={MODELS[product]}" for product in self.promoted if product in MODELS)
            self.rows["sessions"].append(
                {
                    "session_id": f"s{number}",
                    "started_at": self.start + timedelta(minutes=start),
                    "mode": self.mode,
                    "products": ",".join(PRODUCTS),
                    "models": slots,
                    "feature_set": "seed39-1-0123456789abcdef",
                    "clock": "exchange",
                }
            )
        if not self.is_open:
            self.rows["session_ends"].append(
                {
                    "session_id": f"s{len(starts) - 1}",
                    "ended_at": self.start + timedelta(minutes=self.minutes + 1),
                    "reason": "iterations",
                    "detail": "",
                }
            )
        self._message(self.start, "start", "Candledesk started", "info", "", "")

    def _decide(self) -> None:
        rng = np.random.default_rng(11)
        closes = {
            product: PRICES[product] * np.exp(np.cumsum(rng.normal(0, 6e-4, self.minutes + 16))) for product in PRODUCTS
        }
        balance, day_start, open_until = 100_000.0, 100_000.0, deque()
        sent: deque[int] = deque()
        for minute in range(self.minutes):
            moment = self.start + timedelta(minutes=minute)
            close_time = moment + timedelta(minutes=1)
            if close_time.hour == 23 and close_time.minute == 0:
                day_start = balance
            while open_until and open_until[0][0] <= minute:
                balance += open_until.popleft()[1]
            while sent and sent[0] <= minute - 60:
                sent.popleft()
            if minute not in self.missing:
                for product in PRODUCTS:
                    pnl = self._decide_one(rng, product, minute, closes[product], sent)
                    if pnl is not None:
                        open_until.append((minute + 15, pnl))
            floating = sum(pnl for _, pnl in open_until) * 0.5
            equity = balance + floating
            self.rows["equity"].append(
                {
                    "marked_at": close_time,
                    "session_id": self._session(minute),
                    "balance_usd": balance,
                    "equity_usd": equity,
                    "day_start_balance_usd": day_start,
                    "open_positions": len(open_until),
                    "daily_used_pct": max(0.0, (day_start - equity) / 5_000 * 100),
                    "total_used_pct": max(0.0, (100_000 - equity) / 10_000 * 100),
                }
            )

    def _session(self, minute: int) -> str:
        return "s1" if self.crash_at is not None and minute >= self.crash_at else "s0"

    def _decide_one(self, rng, product, minute, closes, sent) -> float | None:
        moment = self.start + timedelta(minutes=minute)
        decided_at = moment + timedelta(minutes=1, seconds=2)
        row = {
            "product": product,
            "open_time": moment,
            "session_id": self._session(minute),
            "decided_at": decided_at,
            "mode": self.mode,
            "close": round(float(closes[minute]), 2),
            "probability": None,
            "p_lstm": None,
            "p_transformer": None,
            "direction": None,
            "confidence": None,
            "tier": None,
            "is_emitted": False,
            "reason": "no_model",
            "latency_ms": float(rng.gamma(4, 6)),
        }
        pnl = None
        if product in self.promoted or self.mode == "shadow":
            p = float(rng.beta(1.6, 1.6))
            confidence = max(p, 1 - p)
            tier = "high" if confidence >= 0.75 else "medium" if confidence >= 0.65 else "low"
            row |= {
                "probability": p,
                "p_lstm": p,
                "direction": "long" if p >= 0.5 else "short",
                "confidence": confidence,
                "tier": tier,
                "reason": "below_threshold",
            }
            if confidence >= 0.75:
                row["reason"] = "rate_limited"
                if len(sent) < 5 and rng.random() < 0.15:
                    sent.append(minute)
                    row |= {"reason": "emitted", "is_emitted": True}
                    pnl = self._signal(rng, row, float(closes[minute]))
        self.rows["decisions"].append(row)
        return pnl

    def _signal(self, rng, row, close) -> float:
        sign = 1 if row["direction"] == "long" else -1
        identity = f"{row['product']}-{row['open_time']:%Y%m%d%H%M}"
        self.rows["signals"].append(
            {
                "signal_id": identity,
                "session_id": row["session_id"],
                "made_at": row["decided_at"],
                "product": row["product"],
                "open_time": row["open_time"],
                "direction": row["direction"],
                "confidence": row["confidence"],
                "tier": row["tier"],
                "probability": row["probability"],
                "p_lstm": row["p_lstm"],
                "p_transformer": None,
                "entry_price": round(close * (1 + sign * 9e-4), 2),
                "target_price": round(close * (1 + sign * 0.02), 2),
                "stop_price": round(close * (1 - sign * 0.01), 2),
                "reward_risk_ratio": 2.0,
                "size_usd": 100_000.0,
                "session": ("tokyo", "london", "new_york")[row["open_time"].hour // 8],
                "mode": row["mode"],
                "lstm_model_id": MODELS.get(row["product"]),
                "transformer_model_id": None,
                "feature_set": "seed39-1-0123456789abcdef",
                "latency_ms": row["latency_ms"],
                "spread_bps": 12.0,
                "slippage_bps": 3.0,
            }
        )
        self._message(
            row["decided_at"], "signal", f"{row['direction']} {row['product']}", "success", row["product"], identity
        )
        is_win = bool(rng.random() < self.accuracy)
        gross = float(abs(rng.normal(22, 14))) * (1 if is_win else -1)
        net = gross - 18.0
        if row["open_time"] + timedelta(minutes=16) <= self.start + timedelta(minutes=self.minutes):
            self.rows["outcomes"].append(
                {
                    "signal_id": identity,
                    "closed_at": row["open_time"] + timedelta(minutes=16),
                    "exit_price": round(close * (1 + sign * gross / 1e4), 2),
                    "exit_reason": "timeout",
                    "gross_bps": gross,
                    "net_bps": net,
                    "pnl_usd": net * 1.5,
                    "is_win": is_win,
                }
            )
        return net * 1.5

    def _message(self, at, kind, title, severity, product, signal_id) -> None:
        number = len(self.rows["outbox"])
        key = f"{kind}-{number}"
        self.rows["outbox"].append(
            {
                "message_key": key,
                "created_at": at,
                "sequence": number,
                "kind": kind,
                "product": product,
                "severity": severity,
                "title": title,
                "body": "",
                "signal_id": signal_id,
            }
        )
        is_ok = not (kind == "signal" and number <= self.undelivered)
        detail = "" if is_ok else "HTTP 502"
        self.rows["deliveries"].append({"message_key": key, "tried_at": at, "is_ok": is_ok, "detail": detail})

    def _drift(self) -> None:
        rng = np.random.default_rng(5)
        for day in range(-(-self.minutes // 1440)):
            for product in PRODUCTS:
                for name in ("atr", "spread", "volume_ma", "sma_50", "rsi", "day_of_week"):
                    self.rows["feature_drift"].append(
                        {
                            "day": (self.start + timedelta(days=day)).date(),
                            "product": product,
                            "feature": name,
                            "psi": float(rng.gamma(2, 0.05)),
                        }
                    )

    # the trainer's side

    def _market(self, settings: Settings) -> None:
        events = [
            {
                "event_id": f"e{number}",
                "happened_at": self.start - timedelta(hours=2),
                "kind": "promotion" if product in self.promoted else "refusal",
                "slot": f"lstm:{product}",
                "model_id": MODELS.get(product, "lstm-SOL-USD-9c0d1e2f"),
                "who": "someone@host",
                "why": "passed every gate" if product in self.promoted else "accuracy, brier_skill",
            }
            for number, product in enumerate(PRODUCTS)
        ]
        candles = [
            {
                "product": product,
                "open_time": self.start - timedelta(minutes=back),
                "open": 1.0,
                "high": 1.0,
                "low": 1.0,
                "close": 1.0,
                "volume": 1.0,
                "source": self.source,
                "known_at": self.start,
            }
            for product in PRODUCTS
            for back in range(10, 0, -1)
        ]
        with write_transaction(settings.paths.market_db) as connection:
            for table in ("registry_events", "model_metrics", "candles_1m", "datasets"):
                connection.execute(load_sql(f"tables/{table}"))
            _insert(connection, "registry_events", events)
            _insert(connection, "candles_1m", candles)
        publish(settings.paths.market_db, settings.paths.market_copy)
        self._passports(settings)

    def _passports(self, settings: Settings) -> None:
        for product in PRODUCTS:
            is_accepted = product in self.promoted
            model_id = MODELS.get(product, "lstm-SOL-USD-9c0d1e2f")
            folder = settings.paths.checkpoints / model_id
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in judged(model_id, product, is_accepted=is_accepted).items():
                (folder / name).write_text(json.dumps(content), encoding="utf-8")
        if self.baseline_win_rate is not None:
            mix = {"high": 0.374, "medium": 0.235, "low": 0.391}
            entry = {"win_rate": self.baseline_win_rate, "tier_mix": mix}
            content = entry | {
                "products": dict.fromkeys(self.promoted, entry),
                "models": {product: {"lstm": MODELS[product]} for product in self.promoted},
            }
            folder = settings.paths.home / "models" / "baselines"
            folder.mkdir()
            (folder / "0.json").write_text(json.dumps(content), encoding="utf-8")


def judged(model_id: str, product: str, *, is_accepted: bool) -> dict:
    """Return passport, curves and metrics as the judge writes them, of a good model or of a coin flip."""
    accuracy = 0.74 if is_accepted else 0.503
    bins = np.linspace(0.08, 0.92, 10) if is_accepted else np.linspace(0.46, 0.54, 10)
    metrics = []

    def add(part, name, value, reach=None, rows=12_900):
        low, high = (None, None) if reach is None else (value - reach, value + reach)
        row = {"model_id": model_id, "product": product, "slice": part, "metric": name, "value": value}
        metrics.append(row | {"low_95": low, "high_95": high, "row_count": rows})

    add("all", "accuracy", accuracy, 0.012)
    add("all", "auc", 0.81 if is_accepted else 0.502, 0.01)
    add("all", "log_loss", 0.53 if is_accepted else 0.6935)
    add("all", "brier", 0.18 if is_accepted else 0.2502)
    add("all", "brier_skill", 0.28 if is_accepted else -0.001, 0.01)
    add("all", "ece_mass", 0.012)
    add("all", "break_even_accuracy", 0.81)
    for name, worse in (("base_rate", 0.2), ("last_sign", 0.18), ("logistic", 0.09), ("boosting", 0.02)):
        add(f"baseline={name}", "accuracy", max(0.5, accuracy - worse))
        add(f"baseline={name}", "log_loss", 0.6931 - (0.1 if is_accepted else 0.0))
    coverage = [
        {"coverage": share, "value": value, "low_95": value - 0.02, "high_95": value + 0.02}
        for share in (1.0, 0.5, 0.1, 0.01)
        for value in [accuracy + (0.2 if is_accepted else 0.01) * (1 - share)]
    ]
    for month in ("2025-01", "2025-02"):
        add(f"month={month}", "accuracy", accuracy + 0.004, 0.015, 6_400)
        add(f"month={month}", "log_loss_less_base_rate", -0.16 if is_accepted else 0.0004, 0.01, 6_400)
    add("month=2025-03", "accuracy", None, None, 60)
    add("all", "effective_rows", 910.0)
    for session in ("tokyo", "london", "new_york"):
        add(f"session={session}", "accuracy", accuracy - 0.003, 0.02, 4_300)
    gates = [
        gate("accuracy", is_accepted, accuracy, 0.68, "5,000 more like it, or a better model"),
        gate("calibration", True, 0.012, 0.05, ""),
        gate("brier_skill", is_accepted, 0.28 if is_accepted else -0.001, 0.0, "its interval must lie above 0"),
    ]
    reliability = [
        {"bin": place, "mean_probability": float(p), "up_share": float(p + 0.01), "row_count": 1290}
        for place, p in enumerate(bins)
    ]
    verdict = {"slot": f"lstm:{product}", "accepted": is_accepted, "gates": gates} | FOUND
    passport = passport_json(
        model_id,
        products=[product],
        dataset_digest="0123456789abcdef" * 4,
        sha256="fedcba9876543210" * 4,
        judged={"trials": 4, "cost_bps": 18.0, "at": "2025-03-02T21:00:00+00:00", "profile": {"name": "seed"}},
        training={"commit": "9331572" + "0" * 33, "history": history()},
        verdicts={product: verdict},
    )
    before = [point | {"mean_probability": point["mean_probability"] * 0.9} for point in reliability]
    judgement = {"model_id": model_id, "architecture": "lstm", "path": "", "profile": "seed", "verdicts": []}
    curves = {product: {"reliability_equal_mass": reliability, "reliability_before": before, "coverage": coverage}}
    return {"passport.json": passport, "curves.json": curves, "judgement.json": judgement | {"metrics": metrics}}


FOUND = {
    "against_baselines": {"logistic": {"value": -0.0123, "low_95": -0.02, "high_95": -0.004}},
    "calibration": {
        "kind": "temperature",
        "parameters": {"slope": 0.7},
        "rows": 9_000,
        "held_out_rows": 5_400,
        "held_out_blocks": 11,
        "candidates": [
            {
                "kind": kind,
                "held_out_log_loss": 0.69 + excess,
                "excess": excess,
                "excess_error": error,
                "chosen": chosen,
            }
            for kind, excess, error, chosen in (("none", 0.004, 0.001, False), ("temperature", 0.0, 0.0, True))
        ],
    },
    "calibrated": {
        "before": {"log_loss": 0.6951, "brier": 0.251, "ece_mass": 0.031, "ece_width": 0.03},
        "after": {"log_loss": 0.6911, "brier": 0.249, "ece_mass": 0.012, "ece_width": 0.011},
        "log_loss_change": {"value": -0.004, "low_95": -0.005, "high_95": -0.003},
    },
    "feasibility": asdict(
        replace(
            feasibility(np.full(20, 21e-4), np.arange(20), np.full(20, 0.6), 18.0),
            sentence="A round trip of 18.0 bps asks too much.",
            by_confidence=(CoverageFigures(0.1, 2, 21.0, 1.2, 0.6, -9.0, 3.0, 14.0, -126.0, 42.0),),
        )
    ),
    "selection": {"trials": 4, "days": 9, "deflated_sharpe_ratio": 0.9004, "sharpe_daily": 0.1},
}
"""What a judging finds beside the figures."""


def history() -> list[dict]:
    """Return two members' checks as training notes them."""
    return [
        {
            "member": member,
            "check": check,
            "windows": 8_000 * check,
            "train_loss": 0.69 - 0.001 * check,
            "early_stop_log_loss": 0.692 - 0.0005 * check + 0.0002 * check**2,
        }
        for member in (1, 2)
        for check in (1, 2, 3)
    ]


def gate(name: str, passed: bool, figure: float, bound: float, sentence: str) -> dict:
    """Return one gate's result."""
    interval = {"low": figure - 0.01, "high": figure + 0.01}
    return {"name": name, "passed": passed, "figure": figure, "bound": bound, "sentence": sentence} | interval


def _insert(connection, table: str, rows: list[dict]) -> None:
    if rows:
        frame = pl.DataFrame(rows, infer_schema_length=None)
        columns = ", ".join(rows[0])
        connection.register("fresh_rows", frame.to_arrow())
        connection.execute(f"insert into {table} ({columns}) select {columns} from fresh_rows")
        connection.unregister("fresh_rows")


@pytest.fixture(scope="session")
def observed(tmp_path_factory) -> Settings:
    """Three whole days in which BTC and ETH signal and SOL is refused."""
    return FakeObservation(tmp_path_factory.mktemp("observed")).build()


@pytest.fixture
def fake_observation(tmp_path):
    """Build another observation: ``fake_observation(mode="shadow", minutes=90)``."""

    def build(**differences) -> Settings:
        return FakeObservation(tmp_path, **differences).build()

    return build
