"""Every test of Candledesk; a package so that `python -m tests.campaign` and `python -m tests.count_house` run from the root."""
