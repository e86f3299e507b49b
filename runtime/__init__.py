"""The serving loop: no torch, no Prefect."""
