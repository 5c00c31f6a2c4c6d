"""Search in one index by several workers, each of which holds some of its segments."""
