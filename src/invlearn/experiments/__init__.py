"""Many runs on equal terms: grids, tuning, workers, tables."""
