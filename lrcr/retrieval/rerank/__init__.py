"""Re-ranking: steps between the search and its results."""
