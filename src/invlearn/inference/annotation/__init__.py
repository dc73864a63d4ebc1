"""Annotation of unlabelled pairs with calibrated probabilities and labels."""
