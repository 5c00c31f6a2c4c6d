"""Artifacts on disk: manifests, fingerprints, atomic writes, memory-mapped arrays."""
