"""The log of a simulated video feed, with known truth."""
