"""From a log to a dataset folder: label rules, ids, one row a pair, splits, audit."""
