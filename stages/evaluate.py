"""Search the index of one dataset with its queries and evaluate the ranking."""

import sys
from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.params import Params
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.evaluation.per_query import write_per_query
from lrcr.storage.artifacts import read_json, write_json


def main(params: Params) -> None:
    """Evaluate the dataset named on the command line."""
    name = sys.argv[1]
    result = evaluate_dataset(params, Path("data", name), Path("data/descriptors", name), Path("data/index", name))
    result.ranking.save(Path(f"data/rankings/{name}.parquet"))
    for setup, ranking in result.reranked.items():
        ranking.save(Path(f"data/rankings/{name}-{setup}.parquet"))
    write_json(Path(f"metrics/{name}.json"), result.metrics)
    write_json(Path(f"metrics/cost/{name}.json"), {**read_json(Path(f"data/cost/{name}.json")), **result.cost})
    write_per_query(Path(f"metrics/ap/{name}.csv"), result.per_query)


run_stage(main)
