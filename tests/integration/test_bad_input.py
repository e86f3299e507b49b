"""Bad input: one clear line that names the repair, exit status not 0, nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


def with_settings(flows, exchange, **settings):
    return replace(flows, environ={**flows.environ, **exchange.environ, **settings})


def test_unknown_product_is_named(flows, exchange):
    done = with_settings(flows, exchange).run("backfill", products="NOPE-USD", days=1)
    assert done.returncode == 2
    assert "PRODUCTS" in last_line(done)
    assert "NOPE-USD is not offered" in done.stderr


def test_end_before_start_names_both(flows, exchange):
    done = with_settings(flows, exchange).run(
        "backfill", start="2025-02-02T00:00:00+00:00", end="2025-02-01T00:00:00+00:00"
    )
    assert done.returncode == 2
    assert "2025-02-01" in last_line(done)
    assert "exchange them" in last_line(done)


def test_unknown_provider_names_those_there_are(flows):
    done = replace(flows, environ={**flows.environ, "PROVIDER": "binance"}).run("backfill", days=1)
    assert done.returncode == 2
    assert "coinbase, synthetic" in last_line(done)


def test_malformed_key_names_the_setting_and_not_the_key(flows, exchange):
    secret = "-----BEGIN EC PRIVATE KEY-----\nbm90IGEga2V5\n-----END EC PRIVATE KEY-----"
    done = with_settings(flows, exchange, COINBASE_API_KEY="k", COINBASE_API_SECRET=secret).run("backfill", days=1)
    assert done.returncode == 2
    assert "COINBASE_API_SECRET" in last_line(done)
    assert "bm90IGEga2V5" not in done.stdout + done.stderr


def test_folder_without_candles_names_the_file_it_expects(tmp_path):
    command = [BIN / "desk", "demo", "--market", "recorded", "--data", str(tmp_path), "--home", str(tmp_path / "var")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "coinbase_BTC-USD_1m.parquet" in last_line(done)
    assert not (tmp_path / "var").exists()


def test_database_that_is_none_is_left_as_it_is(flows, exchange):
    home = Path(flows.environ["DESK_HOME"])
    home.mkdir()
    (home / "market.duckdb").write_text("these are notes, not candles\n" * 400)
    done = with_settings(flows, exchange).run("backfill", products="BTC", days=1)
    assert done.returncode == 2
    assert "is not a database" in last_line(done)
    assert "Move it and its .wal away" in last_line(done)
    assert (home / "market.duckdb").read_text().startswith("these are notes")


def test_unwritable_folder_names_desk_home(flows, exchange, tmp_path):
    (tmp_path / "file").write_text("")
    done = with_settings(flows, exchange, DESK_HOME=str(tmp_path / "file" / "var")).run("backfill", days=1)
    assert done.returncode == 2
    assert "DESK_HOME" in last_line(done)


def test_unknown_parameter_names_those_there_are(flows):
    done = flows.run("build_features", nonsense=1)
    assert done.returncode == 2
    assert "it takes products" in done.stderr


class MinuteAhead(BaseHTTPRequestHandler):
    """An exchange whose clock is a minute ahead of this machine's."""

    def do_GET(self):
        millis = int((time.time() + 60) * 1000)
        body = json.dumps({"epochSeconds": str(millis // 1000), "epochMillis": str(millis)}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Stay quiet."""


def test_clock_a_minute_wrong_names_the_offset_and_the_repair(flows):
    with ThreadingHTTPServer(("127.0.0.1", 0), MinuteAhead) as stub:
        Thread(target=stub.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{stub.server_port}/api/v3/brokerage"
        done = replace(flows, environ={**flows.environ, "COINBASE_BASE_URL": url}).run("backfill", days=1)
        stub.shutdown()
    assert done.returncode == 2
    assert "60 seconds behind" in last_line(done)
    assert "timedatectl" in last_line(done)
    assert not (Path(flows.environ["DESK_HOME"]) / "market.duckdb").exists()
