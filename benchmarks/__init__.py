"""Comparisons with peers and limits: `python -m benchmarks` lists them. Never part of the tests."""
