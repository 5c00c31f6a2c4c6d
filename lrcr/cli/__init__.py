"""The `lrcr` command, and what it shares with the stages.

Each command imports what it needs when it runs: importing this package imports no torch.
"""
