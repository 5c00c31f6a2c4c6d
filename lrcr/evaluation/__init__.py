"""Evaluation of rankings, and comparisons with confidence intervals."""
