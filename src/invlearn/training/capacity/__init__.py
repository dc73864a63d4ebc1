"""What a training takes: memory, traffic, and whether it fits."""
