"""Run by torchrun: a stage of the pipeline, in one folder after the other."""

import os
import runpy
import sys

import torch.distributed as dist
from small import WorseStart

from lrcr.training import train

RANK, RANKS = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
init_process_group = dist.init_process_group


def join_again(backend, timeout):
    """Join the other rank under names of this stage: torchrun's store still holds those of groups that have ended."""
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    init_process_group(
        backend, store=dist.PrefixStore(str(number), store), rank=RANK, world_size=RANKS, timeout=timeout
    )


train.make_validator = WorseStart
stage, *folders = sys.argv[1:]
for number, folder in enumerate(folders):
    if RANK == 0:
        print(f"stage in {folder}", file=sys.stderr, flush=True)
    if number:
        dist.init_process_group = join_again
    os.chdir(folder)
    runpy.run_path(stage, run_name="__main__")
