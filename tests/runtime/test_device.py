import faiss
import pytest
import torch

from lrcr.errors import OutOfMemoryError, ParamsError
from lrcr.runtime.device import explain_out_of_memory, faiss_uses_gpu, make_deterministic, resolve_device


@pytest.mark.parametrize(("gpu", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, gpu, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ParamsError, match=r"^device: 'cuda', but no GPU is usable here; set device to 'auto' or 'cpu'$"
    ):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("cuda") == torch.device("cuda")


@pytest.mark.parametrize(("gpus", "torch_sees"), [(0, False), (0, True), (2, True)])
def test_faiss_uses_the_gpus_that_it_finds(monkeypatch, gpus, torch_sees):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: torch_sees)
    assert [faiss_uses_gpu(name) for name in ("auto", "cpu")] == [gpus > 0, False]
    if torch_sees:
        assert faiss_uses_gpu("cuda") == (gpus > 0)
    else:
        with pytest.raises(ParamsError, match="no GPU is usable here"):
            faiss_uses_gpu("cuda")
    monkeypatch.delattr(faiss, "get_num_gpus")
    assert not faiss_uses_gpu("auto"), "a faiss without code for GPUs"


def test_cudnn_does_not_choose_algorithms_by_timing(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    make_deterministic()
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB\nmore lines"), "CUDA out of memory. Tried 2 GiB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), "DefaultCPUAllocator: can't allocate"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when"), "CUBLAS_STATUS_ALLOC_FAILED when"),
    ],
)
def test_out_of_memory_is_one_line_with_its_remedy(error, said):
    with pytest.raises(OutOfMemoryError) as found, explain_out_of_memory("lower x"):
        raise error
    assert str(found.value) == f"out of memory: {said}; lower x"
    assert found.value.__cause__ is error


def test_memory_that_really_runs_out_is_recognised():
    with pytest.raises(OutOfMemoryError, match=r"^out of memory: .*; lower x$"), explain_out_of_memory("lower x"):
        torch.empty(2**50)


def test_other_errors_stay_as_they_are():
    for error in (RuntimeError("shapes differ"), ValueError("x")):
        with pytest.raises(type(error), match=str(error)), explain_out_of_memory("lower x"):
            raise error
    with explain_out_of_memory("lower x"):
        pass
