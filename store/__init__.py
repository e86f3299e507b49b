"""DuckDB access; the only package that opens a database."""
