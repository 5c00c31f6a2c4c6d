"""Devices, threads, seeds, compiled functions, ranks of torchrun and worker processes."""

import os

from lrcr.runtime.threads import set_openmp_threads

# OpenMP's threads do not exist in a forked child: torch and faiss would wait for them forever.
os.register_at_fork(after_in_child=lambda: set_openmp_threads(1))
