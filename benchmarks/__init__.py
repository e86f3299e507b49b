"""Benchmarks: whole processes on this machine, side by side in one run; figures go to docs/log.md by hand."""
