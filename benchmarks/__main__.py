"""List the benchmarks, or run the named ones; the exit code is 1 when a value misses its target."""

import logging
import sys
from importlib import import_module

from benchmarks.values import Benchmark, run
from lrcr.errors import LrcrError

BENCHMARKS = {
    "training": "gain from training on the embedded dataset (15 minutes)",
    "defaults": "off-the-shelf defaults beside other trunks and settings, real photos (an hour)",
    "photos": "mAP on real photos, compared with the reference implementation (20 minutes)",
    "global_photos": "global vectors without training, compared with HOW and ASMK, real photos (30 minutes)",
    "confidence": "false alarms beside the stated rates, and matches found, real photos (an hour on one core)",
    "comparison_embedded": "every system on the embedded dataset, trained and not trained (four hours on one core)",
    "second_phase": "CFCD's second phase beside a longer first phase, embedded dataset (an hour on one core)",
    "comparison_real": "every system and re-ranking on real photos, two trunks (ten hours on one core)",
    "context_real": "context on real photos: table, curve, log of training, kernels, border (eight hours on one core)",
    "context_embedded": "context on the embedded dataset with the settings of the default run (an hour)",
    "extraction": "extraction of real photos compared with a simple loop, local and global; cost of LRCR",
    "collections": "groups of real photos: precision and recall; all of 100,000 images against all (an hour)",
    "codebooks": "k-means with shortlists and cells compared with exact k-means, bfloat16 with float32 (50 minutes)",
    "words": "two iterations of k-means to 65,536 words of 2.5 million real descriptors: in cells, exact (20 minutes)",
    "quantising": "approximate compared with exact assignment on real photos (10 minutes)",
    "matching": "geometric verification: tentative matches and robust estimators, real pairs (15 minutes)",
    "searching": "ASMK search compared with the asmk package, 5,000 images",
    "reading": "ASMK search of 100,000 images compared with only reading the posting lists",
    "protocol": "evaluation of a million images compared with the method of revisitop",
    "million": "ASMK with a million images, and changes of such an index: 20 GB of disk, removed afterwards",
    "cluster": "sharded search: two processes compared with one, merging of 100 shards, Ray (5 minutes, 2 GB)",
    "serving": "a photo uploaded to a server of 102,400 images: time to the first results (5 minutes)",
    "building": "aggregation and index building compared with the asmk package",
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all of them; list them if no name is given."""
    if not names:
        print("\n".join(f"{name:<21}{about}" for name, about in BENCHMARKS.items()))
        return 0
    chosen = list(BENCHMARKS) if names == ["all"] else names
    if unknown := [name for name in chosen if name not in BENCHMARKS]:
        print(f"error: no benchmark {unknown[0]!r}; choose from all, {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    try:
        reached = [run(Benchmark(name, BENCHMARKS[name], import_module(f"benchmarks.{name}").run)) for name in chosen]
    except LrcrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if all(reached) else 1


logging.basicConfig(format="%(message)s", level=logging.INFO)
sys.exit(main(sys.argv[1:]))
