"""Estimates of what a training needs (memory, disk, messages), and the check that it fits."""
