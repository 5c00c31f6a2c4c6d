"""Where the arithmetic runs: devices, seeds, compiled loops, ranks of torchrun, worker processes."""
