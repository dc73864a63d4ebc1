"""Preparation of a dataset from a log: label rules, ids, repeated pairs, splits, audit."""
