"""Run every benchmark, or those named: ``python -m benchmarks backfill features``."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("backfill", "features", "runtime")


def main(names: list[str]) -> int:
    """Run the benchmarks called ``names``, all of them without any; return the exit status."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
