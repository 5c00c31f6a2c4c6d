"""A Ray cluster of three nodes on this machine, one CPU each."""

import os
import shutil
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
_SYSTEM = {
    **{"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 10},
    **{"agent_register_timeout_ms": 300_000, "worker_register_timeout_seconds": 300},
}
"""A dead node is noticed after seconds, and a busy one is not taken for dead."""

_TRIES = 5
_AGENT_PORTS = ("metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port", "metrics_export_port")


class Nodes:
    """The cluster; nodes can be killed and added. The first one is never killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster()
        self._start(include_dashboard=False, no_monitor=True, _system_config=_SYSTEM)
        self.others = []
        self.complete()

    def complete(self) -> None:
        """Start nodes until there are three."""
        while len(self.others) < 2:
            self.others.append(self._start())
        self.cluster.wait_for_nodes()

    def _start(self, **options):
        """Start a node; one gives up if its agents need more than 15 seconds to start, as on a busy machine."""
        for _ in range(_TRIES - 1):
            with suppress(Exception):
                return self.cluster.add_node(**_node(), **options)
        return self.cluster.add_node(**_node(), **options)

    def kill(self, which: int) -> None:
        """Kill all processes of a node at once."""
        self.cluster.remove_node(self.others.pop(which), allow_graceful=False)


def _node() -> dict[str, int]:
    """One CPU, little memory, and ports for its agents: a node that has to wait for theirs can give up too early."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("", 0))) for _ in _AGENT_PORTS]
        ports = [free.getsockname()[1] for free in sockets]
    return {
        "num_cpus": 1,
        "object_store_memory": 80 * 2**20,
        "include_log_monitor": False,
        **dict(zip(_AGENT_PORTS, ports, strict=True)),
    }


@pytest.fixture(scope="package")
def started():
    try:
        import ray
    except ImportError:
        pytest.fail("ray is not installed: install the extra lrcr[ray] before make cluster")
    folder = Path(tempfile.mkdtemp(prefix="lrcr-ray-"))  # Ray's sockets need a short path
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        (folder / "ray").mkdir()
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", paths)  # of workers, which import lrcr and `cluster.makes`
        nodes = Nodes()
        patch.setenv("RAY_ADDRESS", nodes.cluster.address)
        yield nodes
        ray.shutdown()
        nodes.cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(started):
    """Three living nodes."""
    started.complete()
    return started
