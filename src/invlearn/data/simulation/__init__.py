"""Simulation of a video-feed log with known true labels."""
