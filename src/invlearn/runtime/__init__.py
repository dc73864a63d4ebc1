"""Errors, atomic files, locks, safe parsing, memory, randomness, processes."""
