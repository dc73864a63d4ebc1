"""From a log of impressions to batches of pairs."""
