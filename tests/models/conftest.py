from collections.abc import Callable

import numpy as np
import pytest
from torch.profiler import ProfilerActivity, profile


def _peak_memory(work: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())


@pytest.fixture(scope="session")
def peak_memory() -> Callable[[Callable[[], object]], int]:
    """`peak_memory(work)`: the most bytes that tensors made by `work` hold at once."""
    return _peak_memory
