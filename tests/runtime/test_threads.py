"""One setting governs torch, numba and faiss from the start of a process, in forked children and in several threads."""

import os
import subprocess
import sys

import numba
import pytest
import torch

from lrcr.errors import ParamsError
from lrcr.runtime.threads import use_threads

CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    """The environment without any number of threads; after the test, the numbers are as before."""
    before = torch.get_num_threads()
    with monkeypatch.context() as patch:
        for name in ("LRCR_THREADS", "OMP_NUM_THREADS"):
            patch.setenv(name, "")
        yield os.environ
    use_threads(before)


@pytest.mark.parametrize(
    ("param", "variables", "number"),
    [
        (3, {"LRCR_THREADS": "2", "OMP_NUM_THREADS": "1"}, 3),
        (None, {"LRCR_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2),
        (None, {"OMP_NUM_THREADS": "3"}, 3),
        (None, {"OMP_NUM_THREADS": "4,2"}, CORES),
        (None, {}, CORES),
    ],
)
def test_the_param_is_preferred_to_the_variable_and_the_variable_to_all_cores(environment, param, variables, number):
    import faiss

    environment.update(variables)
    use_threads(param)
    assert torch.get_num_threads() == faiss.omp_get_max_threads() == number
    assert numba.get_num_threads() == min(number, numba.config.NUMBA_NUM_THREADS)
    assert environment["OMP_NUM_THREADS"] == str(number), "for the processes that this one starts"


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5"])
def test_what_is_not_a_number_of_threads_is_refused(environment, given):
    environment["LRCR_THREADS"] = given
    with pytest.raises(ParamsError, match=f"^LRCR_THREADS: '{given}' is not a number of threads; give 1 or more$"):
        use_threads(None)


def run(script: str, **variables: str) -> None:
    """Run a script in a process of its own; NUMBA_NUM_THREADS is left to it."""
    unset = ("LRCR_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    given = {key: value for key, value in os.environ.items() if key not in unset}
    given["OMP_WAIT_POLICY"] = "passive"  # other tests use the cores too
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**given, **variables}, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


KERNEL = """
import numpy as np
from lrcr.retrieval.asmk.aggregation import _count_words
counts = np.zeros(3, np.int64)
_count_words(np.zeros((3, 1), np.int32), np.arange(4), 1, 2, counts)
assert counts.tolist() == [1, 1, 1]

import faiss, numba, torch
assert (torch.get_num_threads(), faiss.omp_get_max_threads(), numba.get_num_threads()) == (1, 1, 1)
"""
SET = "from lrcr.runtime.threads import use_threads; use_threads(None)"
NO_IMPORT = "import sys; assert not {'torch', 'numba', 'faiss', 'numpy'} & set(sys.modules), 'a step may not need them'"


@pytest.mark.parametrize(
    "start",
    [f"{SET}\n{NO_IMPORT}", f"import torch, faiss, lrcr.runtime.jit; torch.get_num_threads()\n{SET}"],
    ids=["set before all imports", "set after them"],
)
def test_a_compiled_function_leaves_the_threads_of_torch_and_faiss(start):
    """Even with OpenMP, for which numba sets the number of all threads."""
    run(start + KERNEL, LRCR_THREADS="1", NUMBA_THREADING_LAYER="omp")


SEARCHES = """
import os, signal, threading
import numba, numpy as np, torch
from lrcr.retrieval.asmk.aggregation import aggregate
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.runtime.threads import use_threads

use_threads(2)
rng = np.random.default_rng(0)
points = rng.normal(size=(3000, 16)).astype(np.float32)
codebook = Codebook(rng.normal(size=(64, 16)).astype(np.float32))
layer, images = torch.nn.Conv2d(16, 16, 3), torch.randn(4, 16, 60, 60)

def extract():
    with torch.inference_mode():
        return layer(images)

def search():
    words = codebook.assign(points, 2)
    return aggregate(points, words, np.arange(0, 3001, 100), codebook.centroids, binary=True)

expected, features = search(), extract()

def search_again():
    found = search()
    assert np.array_equal(found.words, expected.words) and np.array_equal(found.vectors, expected.vectors)

def in_a_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child was aborted, or waits for threads that do not exist"

def both():
    search_again()
    torch.testing.assert_close(extract(), features)

in_a_child(both)

failed, done = [], []
def repeat():
    try:
        while not done:
            search_again()
    except BaseException as error:
        failed.append(error)

threads = [threading.Thread(target=repeat) for _ in range(4)]
[thread.start() for thread in threads]
for _ in range(20):
    search_again()
done.append(True)
[thread.join() for thread in threads]
assert not failed, failed

in_a_child(both)
assert numba.threading_layer() == "workqueue"
assert (torch.get_num_threads(), numba.get_num_threads()) == (2, 2), "of the parent"
"""


def test_several_threads_search_at_once_and_a_forked_child_searches_and_extracts():
    run(SEARCHES)


@pytest.mark.parametrize(("given", "policy"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_idle_threads_sleep_unless_the_user_wants_them_to_spin(given, policy):
    """The policy is set before torch reads it: the command line and the stages import it first."""
    script = "import os, sys; import lrcr.cli.terminal; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**environment, **given}, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == [policy, "False"], done.stderr
