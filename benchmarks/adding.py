"""Add images to an index, again and again, until this process is killed: `python -m benchmarks.adding INDEX IMAGES`."""

import itertools
import sys
from pathlib import Path

from benchmarks.changes import add, draw

index, count = Path(sys.argv[1]), int(sys.argv[2])
parts = list(draw(0, count))
print("drawn", flush=True)
for number in itertools.count(1):
    add(index, number * 10_000_000, parts)
