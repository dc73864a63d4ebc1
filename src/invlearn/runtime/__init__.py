"""Errors, files written whole, locks, safe parsing, memory, randomness, processes."""
