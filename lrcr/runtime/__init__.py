"""Devices, seeds, compiled functions, ranks of torchrun and worker processes."""
