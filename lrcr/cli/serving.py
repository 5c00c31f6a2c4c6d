"""`lrcr serve`."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from lrcr.app.addresses import is_loopback
from lrcr.cli.options import MovedPhotos, Overrides, ParamsFile, Recipe
from lrcr.cli.terminal import import_torch, say
from lrcr.errors import ParamsError

_LEAST_TOKEN = 16  # characters


def serve(
    folders: Annotated[
        list[Path], typer.Argument(metavar="INDEX...", help="One index written by `lrcr index`, or two to compare.")
    ],
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Address to listen at; others than this machine need a token."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0: any that is free.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="TEXT", help="What requests must show; default: the variable LRCR_TOKEN."),
    ] = None,
    judged: Annotated[
        Path | None,
        typer.Option(
            "--judged",
            metavar="FOLDER",
            help="Folder of the judgements; default: beside the first index, INDEX.judged.",
        ),
    ] = None,
    moved: MovedPhotos = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
) -> None:
    """Serve a page on which photos are searched and results are judged in a browser."""
    secret = _check(folders, host, os.environ.get("LRCR_TOKEN") or None if token is None else token, moved)
    import_torch()
    try:
        from lrcr.app import server
    except ModuleNotFoundError as error:
        raise ParamsError(f"lrcr serve: {error.name} is not installed; run pip install 'lrcr[app]'") from None
    from lrcr.app.served import ServedIndex

    listening = server.listen(host, port)
    indexes = [ServedIndex(folder, moved or (), recipe, params, overrides or ()) for folder in folders]
    app = server.make_app(indexes, judged or Path(f"{folders[0].resolve()}.judged"), secret)
    server.warm_up(indexes)
    shown = f"[{host}]" if ":" in host else host
    say(f"http://{shown}:{listening.getsockname()[1]}/{f'?token={secret}' if secret else ''}    (Ctrl-C ends)")
    server.serve(app, listening)


def _check(folders: list[Path], host: str, token: str | None, moved: list[Path] | None) -> str | None:
    """The token, if there is to be one; refuses options that do not fit."""
    if len(folders) > 2:
        raise ParamsError(f"INDEX: {len(folders)} indexes; name one, or two to compare")
    if len(folders) > 1 and moved:
        raise ParamsError("--photos: the folders of which index? Store them by `lrcr update INDEX --photos NEWROOT`")
    if token is not None and not re.fullmatch(rf"[A-Za-z0-9_-]{{{_LEAST_TOKEN},}}", token):
        raise ParamsError(f"--token: needs at least {_LEAST_TOKEN} letters, digits, - or _; give a random one")
    if token is None and not is_loopback(host):
        raise ParamsError(f"--host {host}: others can reach it; give --token TEXT, at least {_LEAST_TOKEN} letters")
    return token
