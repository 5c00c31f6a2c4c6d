"""The `lrcr` command."""

import typer

from lrcr.cli import (
    bench,
    comparison,
    compiling,
    evaluation,
    initialisation,
    inspection,
    pictures,
    searching,
    training,
    weights,
)
from lrcr.cli.terminal import one_line_errors, refuse_ranks
from lrcr.runtime.threads import use_threads

app = typer.Typer(
    name="lrcr",
    help="Find the photos that show the same building, object or place as a query photo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(initialisation.init)
app.command()(training.train)
app.command()(searching.index)
app.command()(searching.search)
app.command()(evaluation.evaluate)
app.command()(comparison.compare)
app.command()(pictures.maps)
app.command()(pictures.rankings)
app.command()(inspection.inspect)
app.command()(inspection.verify)
app.command()(bench.bench)
app.command()(weights.weights)
app.command()(compiling.compile)


def main() -> None:
    """Run the command line."""
    with one_line_errors():
        refuse_ranks()
        use_threads(None)  # commands that read params set it again
        app()


if __name__ == "__main__":
    main()
