"""A `python` that starts in milliseconds, for the many processes of a pipeline.

`forkserver.py serve SOCKET` imports the libraries that the stages and DVC use, and waits for requests.
`forkserver.py SOCKET -m MODULE …`, which imports only the standard library, makes one: the server forks, and the child
runs the module with the arguments, the working folder, the environment and the standard streams of the request. As with
`python -m MODULE …`, what is in the working folder is imported first.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = [
    *("dvc.cli.parser", "dvc.commands.experiments.run", "dvc.commands.repro", "dvc.commands.status", "dvc.repo"),
    *("dvc_data.index", "dvclive", "networkx", "scmrepo.git"),
    *("faiss", "h5py", "matplotlib.backends.backend_agg", "numba", "pandas", "pyarrow.dataset", "pydantic.main"),
    *("rich.logging", "rich.progress", "ruamel.yaml", "torch", "torchvision", "typer"),
]
STREAMS = (0, 1, 2)


@contextlib.contextmanager
def forkserver(environment: dict[str, str]) -> Iterator[Path]:
    """Start a server for the length of the block.

    Args:
        environment: of the server; libraries read some of it when they are imported, and not again in a child.

    Yields:
        The folder of the command `python`, to be put first in `PATH`.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:  # its path is short, which a socket needs
        address, command = Path(folder, "socket"), Path(folder, "bin", "python")
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISs "{__file__}" "{address}" "$@"\n')
        command.chmod(0o755)
        started = [sys.executable, __file__, "serve", address]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(started, env=environment, **pipes) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n", "the server did not start; see its traceback"
                yield command.parent
            finally:
                server.kill()


def serve(address: str) -> None:
    """Answer requests until the parent process ends, which closes standard input."""
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the exit codes of `_attend` are of no use
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while select.select([listener, sys.stdin], [], [])[0] == [listener]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(connection)
            connection.close()


def _attend(connection: socket.socket) -> None:
    """In a child of the server: run the module in another child, and answer with its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(connection, 1 << 20, len(STREAMS))
    child = os.fork()
    if child == 0:
        connection.close()
        _run(streams, **json.loads(request))
    for stream in streams:
        os.close(stream)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(str(status).encode())
    os._exit(0)


def _run(streams: list[int], module: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    code = 1
    try:
        for stream, number in zip(streams, STREAMS, strict=True):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[0] = folder
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def request(address: str, option: str, module: str, *arguments: str) -> int:
    """Have the server run a module; returns its exit code."""
    assert option == "-m", f"{option}: only -m MODULE can be run"
    asked = {"module": module, "arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(asked).encode()], STREAMS)
        return int(connection.recv(16) or b"1")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(request(*sys.argv[1:]))
