"""Indexes of local descriptors that were computed elsewhere, in features files (`lrcr.features.hloc`)."""
