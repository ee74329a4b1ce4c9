"""Where histories are kept: the port (`port`), a DuckDB file (`duckdb`) and plain memory (`memory`)."""
