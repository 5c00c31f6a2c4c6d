"""The `lrcr` command, and what it shares with the stages."""
