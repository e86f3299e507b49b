"""Run every benchmark, or those named: ``python -m benchmarks backfill features``; each takes ``--help`` by itself."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = (
    "backfill",
    "features",
    "forecasts",
    "intervals",
    "parity",
    "runtime",
    "training",
    "verdict_errors",
)


def main(names: list[str]) -> int:
    """Run the benchmarks called ``names``, all of them without any; return the exit status."""
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\n\nBenchmarks: {', '.join(NAMES)}. Options: python -m benchmarks.NAME --help")
        return 0
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    return max((import_module(f"benchmarks.{name}").main() or 0 for name in names or NAMES), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
