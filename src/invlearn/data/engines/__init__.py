"""Table engines for preparation: Polars, DuckDB, Spark."""
