"""The table engines that preparation runs on: Polars, DuckDB, Spark."""
