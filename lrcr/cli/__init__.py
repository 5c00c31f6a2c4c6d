"""The `lrcr` command, and what it shares with the stages.

Each command imports what it needs when it runs: importing this package imports no torch.
"""

import gc

THRESHOLD = gc.get_threshold()
"""Of the garbage collector while a command, a stage or a worker works."""

# Imports make many objects and no garbage: to search them again and again would take a fifth of the time of an import.
gc.set_threshold(100_000)
