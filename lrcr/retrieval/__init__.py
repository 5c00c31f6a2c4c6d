"""From descriptors to rankings: codebook, index and search."""
