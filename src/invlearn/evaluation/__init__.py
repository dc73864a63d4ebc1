"""Metrics with intervals, calibration, baselines, ranking."""
