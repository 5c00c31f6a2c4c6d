"""List the benchmarks, or run those named; exit code 1 when a bar is not reached."""

import sys

from benchmarks import training
from benchmarks.bars import Benchmark, run

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (Benchmark("training", "what training is worth on the embedded default", training.run),)
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all of them; without a name list them."""
    if not names:
        print("\n".join(f"{benchmark.name:<14}{benchmark.about}" for benchmark in BENCHMARKS.values()))
        return 0
    chosen = list(BENCHMARKS) if names == ["all"] else names
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        print(f"error: no benchmark {unknown[0]!r}; there are all, {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    return 0 if all([run(BENCHMARKS[name]) for name in chosen]) else 1


sys.exit(main(sys.argv[1:]))
