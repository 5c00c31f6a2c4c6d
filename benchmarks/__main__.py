"""List the benchmarks, or run those named; exit code 1 when a bar is not reached."""

import logging
import sys
from importlib import import_module

from benchmarks.bars import Benchmark, run
from lrcr.errors import LrcrError

BENCHMARKS = {
    "training": "what training is worth on the embedded default (15 minutes)",
    "photos": "mAP on real photos beside the reference implementation (20 minutes)",
    "global_photos": "global vectors off the shelf next to HOW with ASMK, real photos (30 minutes)",
    "global_embedded": "all models of the queued grid on the embedded default, and CFCD's parts (10 minutes)",
    "context_photos": "learnable smoothing and graph learned on real photos: table and curve (an hour)",
    "context_parts": "what each part of the context is worth there: kernels, heads, kinds of graph (40 minutes)",
    "border": "what leaving aside the border of the map is worth there, without learning (10 minutes)",
    "context_rendered": "the same learned on rendered landmarks, evaluated on real photos (an hour)",
    "context_embedded": "the same on the embedded default, 5 seeds (two hours)",
    "extraction": "extraction of real photos against the plain loop, of both families; what LRCR costs",
    "quantising": "approximate against exact assignment on real photos (10 minutes)",
    "searching": "ASMK search against the asmk package, 5,000 images",
    "reading": "ASMK search at 100,000 images beside merely reading the lists",
    "protocol": "evaluation at a million images against revisitop's way",
    "million": "ASMK at a million images: 15 GB of disk, removed afterwards",
    "building": "aggregation and index building against the asmk package",
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all of them; without a name list them."""
    if not names:
        print("\n".join(f"{name:<18}{about}" for name, about in BENCHMARKS.items()))
        return 0
    chosen = list(BENCHMARKS) if names == ["all"] else names
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        print(f"error: no benchmark {unknown[0]!r}; there are all, {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    try:
        reached = [run(Benchmark(name, BENCHMARKS[name], import_module(f"benchmarks.{name}").run)) for name in chosen]
    except LrcrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all(reached) else 1


logging.basicConfig(format="%(message)s", level=logging.INFO)
sys.exit(main(sys.argv[1:]))
