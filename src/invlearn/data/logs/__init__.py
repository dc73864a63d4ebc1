"""Readers of log files and tables of every supported format."""
