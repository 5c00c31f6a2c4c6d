"""Comparisons with other implementations and with limits; `python -m benchmarks` lists them. Not part of the tests."""
