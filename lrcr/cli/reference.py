"""The reference of all commands, made from their declarations: `python -m lrcr.cli.reference > docs/commands.md`."""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from lrcr.cli.main import app

_HEAD = """# Commands

All commands with their arguments and options. `lrcr COMMAND --help` prints the same.
This page is made from the code: `python -m lrcr.cli.reference > docs/commands.md`.
"""


def write_reference() -> str:
    """The text of docs/commands.md: a section for each command."""
    return "\n".join([_HEAD, *(_section(context) for context in find_commands(typer.main.get_command(app), "lrcr"))])


def find_commands(command: Any, name: str) -> Iterator[typer.Context]:
    """The context of a command; of a group those of all commands in it.

    Args:
        command: an object of click, which Typer may bring along under another name.
        name: of the command, with the groups that it is in.
    """
    context = typer.Context(command, info_name=name)
    if not hasattr(command, "list_commands"):
        yield context
        return
    for key in command.list_commands(context):
        yield from find_commands(command.get_command(context, key), f"{name} {key}")


def _section(context: typer.Context) -> str:
    command = context.command
    usage = " ".join([str(context.info_name), *command.collect_usage_pieces(context)])
    rows = [param.get_help_record(context) for param in command.params]
    table = ["| argument | meaning |", "| --- | --- |"]
    table += [f"| `{names}` | {_cell(text)} |" for names, text in filter(None, rows)]
    return "\n".join([f"## {context.info_name}", "", f"    {usage}", "", command.help or "", "", *table, ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    sys.stdout.write(write_reference())
