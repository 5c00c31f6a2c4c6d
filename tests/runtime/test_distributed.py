"""One process, and the environment of torchrun; `tests/training/test_distributed.py` starts several processes."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lrcr.errors import LrcrError
from lrcr.runtime import distributed


@pytest.fixture
def rank_2_of_3(monkeypatch):
    """As torchrun starts the last of three processes, the second on its machine."""
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    for name, value in {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


def test_a_single_process_is_the_only_rank():
    assert (distributed.rank(), distributed.world_size(), distributed.is_local_main()) == (0, 1, True)
    assert distributed.share([1, 2, 3]) == [1, 2, 3]


def test_nothing_is_sent_in_a_single_process():
    with distributed.process_group(torch.device("cpu")):
        assert not dist.is_initialized()
        values = torch.tensor([1.0, 2.0])
        assert distributed.all_reduce_sum(values) is values
        layer = nn.Linear(2, 1)
        layer(values).sum().backward()
        gradient = layer.weight.grad.clone()
        distributed.all_reduce_gradients(layer.parameters())
        distributed.broadcast_module(layer)
        torch.testing.assert_close(layer.weight.grad, gradient)
        assert distributed.broadcast(lambda: "first") == "first"


def test_a_rank_knows_its_place_and_its_share(rank_2_of_3, monkeypatch):
    assert (distributed.rank(), distributed.world_size(), distributed.is_local_main()) == (2, 3, False)
    assert distributed.share(range(10)) == range(2, 10, 3)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert distributed.is_local_main()


def test_a_rank_without_a_gpu_of_its_own_is_refused(rank_2_of_3, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    said = "^torchrun: rank 1 of this machine has none of its 1 GPUs; start fewer ranks$"
    with pytest.raises(LrcrError, match=said), distributed.process_group(torch.device("cuda")):
        pass


def test_a_rank_that_is_lost_is_told_in_one_line(rank_2_of_3, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("connection reset by peer")

    monkeypatch.setattr(dist, "all_reduce", fail)
    with pytest.raises(LrcrError, match=r"^rank 2: lost another rank \(connection reset by peer…\); see the error"):
        distributed.all_reduce_sum(torch.ones(1))
