"""Prefect flows: orchestration only, one flow a file."""
