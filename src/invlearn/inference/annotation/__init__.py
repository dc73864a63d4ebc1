"""Unlabelled pairs, annotated with calibrated probabilities and labels."""
