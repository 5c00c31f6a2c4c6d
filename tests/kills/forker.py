"""A process that has imported everything and runs each function it is asked for in a child of its own.

Requests come pickled through standard input: function, arguments, environment. The child's id and then its exit status
go to standard output, a line each. So a function can be killed in the midst of its work, at the cost of a fork.
"""

import importlib
import os
import pickle
import sys
import traceback

from lrcr.runtime.threads import use_threads

LATE = ("faiss", "torch._dynamo", "torchvision")
"""What the functions import only when they run, some seconds in all: imported here, a child has it at once."""


def main() -> None:
    for module in LATE:
        importlib.import_module(module)
    while True:
        try:
            function, arguments, environment = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            run(function, arguments, environment)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def run(function, arguments, environment) -> None:
    code = 1
    try:
        os.setsid()  # by which the test knows what this process has started
        os.dup2(2, 1)  # what the function prints is no answer
        os.environ.update(environment)
        use_threads(None)
        function(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
