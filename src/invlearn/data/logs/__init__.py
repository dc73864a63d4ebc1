"""Logs, whatever they are stored in, as one lazy table."""
