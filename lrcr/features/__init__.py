"""Descriptors: from photos to a store of shards."""
