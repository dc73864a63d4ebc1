"""Typed settings of a training, their validation, and presets."""
