"""Batches: the order of rows, and unlabelled pairs."""
