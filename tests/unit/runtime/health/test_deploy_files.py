"""`docs/deploy/` against the metrics a runtime really has, and against promtool where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from core.settings import load_settings
from runtime.health.prometheus_text import registry_of
from tests.sample_status import STATUS

ROOT = Path(__file__).resolve().parents[4]
DEPLOY = ROOT / "docs" / "deploy"
RULES = [
    rule for group in yaml.safe_load((DEPLOY / "alert_rules.yml").read_text())["groups"] for rule in group["rules"]
]
PANELS = json.loads((DEPLOY / "grafana_dashboard.json").read_text())["panels"]
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{panel["title"]: " ".join(target["expr"] for target in panel["targets"]) for panel in PANELS},
}
METRICS = generate_latest(registry_of(lambda: STATUS)).decode()
NAMES = set(re.findall(r"^(\w+)", METRICS, re.MULTILINE))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; it comes with Debian's package prometheus"
)


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_rules_and_panels_ask_for_metrics_that_there_are(title: str) -> None:
    asked = set(re.findall(r"\b(?:candledesk|process)_\w+", EXPRESSIONS[title]))
    assert asked <= NAMES, asked - NAMES
    assert asked or EXPRESSIONS[title] == 'up{job="candledesk"} == 0'


def test_every_metric_has_our_prefix_and_the_unit_of_its_kind() -> None:
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)", METRICS, re.MULTILINE))
    own = {name: kind for name, kind in kinds.items() if not name.startswith("process_")}
    assert all(name.startswith("candledesk_") for name in own)
    assert all(name.endswith("_total") for name, kind in own.items() if kind == "counter")
    assert not [name for name in own if re.search(r"_(ms|minutes|pct|percent)$", name)]
    assert kinds["candledesk_decision_latency_seconds"] == "histogram"
    assert 'candledesk_decision_latency_seconds_bucket{le="+Inf"} 42.0' in METRICS


def test_scrape_job_asks_the_port_that_its_comment_names() -> None:
    text = (DEPLOY / "prometheus.yml").read_text()
    job = yaml.safe_load(text)["scrape_configs"][0]
    port = re.search(r"RUNTIME_PORT=(\d+)", text)
    assert port is not None
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{port[1]}"]}]
    assert load_settings(runtime_port=port[1]).runtime_port == int(port[1])


def test_dashboard_panels_have_names_and_places_of_their_own() -> None:
    assert len({panel["title"] for panel in PANELS}) == len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", DEPLOY / "prometheus.yml"),
        ("check", "rules", DEPLOY / "alert_rules.yml"),
        ("test", "rules", Path(__file__).with_name("alert_rules_test.yml")),
        ("check", "metrics"),
    ],
    ids=lambda words: " ".join(map(str, words[:2])),
)
def test_promtool_accepts(words: tuple[str | Path, ...]) -> None:
    done = subprocess.run(["promtool", *words], input=METRICS, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr


@needs_promtool
def test_every_alert_is_tried() -> None:
    tried = Path(__file__).with_name("alert_rules_test.yml").read_text()
    assert [rule["alert"] for rule in RULES if f'alertname="{rule["alert"]}"' not in tried] == []
