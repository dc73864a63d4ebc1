"""Batch sampling: the order of rows, and unlabelled pairs."""
