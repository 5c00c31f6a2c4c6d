"""From descriptors to rankings: codebook, index, search."""
