"""The `lrcr` command."""

import typer

from lrcr.cli import (
    bench,
    collection,
    collections,
    comparison,
    compiling,
    evaluation,
    export,
    indexing,
    initialisation,
    inspection,
    pictures,
    released,
    searching,
    serving,
    training,
)
from lrcr.cli.terminal import one_line_errors, refuse_ranks
from lrcr.runtime.threads import use_threads

app = typer.Typer(
    name="lrcr",
    help="Find the photos that show the same building, object or place as a query photo.",
    epilog="Example: lrcr index photos/ -o my.index",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
plot = typer.Typer(
    help="Draw the maps of a model, or rankings.",
    epilog="Example: lrcr plot maps photo.jpg --model model.safetensors -o maps.png",
    no_args_is_help=True,
)
app.add_typer(plot, name="plot")
for group, command, example in (
    (app, initialisation.init, "lrcr init --recipe how-r18"),
    (app, indexing.index, "lrcr index photos/ -o my.index"),
    (app, searching.search, "lrcr search my.index query.jpg --plot results.png"),
    (app, serving.serve, "lrcr serve my.index --port 8000"),
    (app, collection.add, "lrcr add my.index new-photos/ photo.jpg"),
    (app, collection.remove, "lrcr remove my.index church/0.jpg"),
    (app, collection.update, "lrcr update my.index"),
    (app, collection.sync, "lrcr sync my.index photos/"),
    (app, collection.merge, "lrcr merge a.index b.index -o c.index"),
    (app, collection.compact, "lrcr compact my.index"),
    (app, collections.duplicates, "lrcr duplicates my.index --plot duplicates.png"),
    (app, collections.cluster, "lrcr cluster my.index -o places.csv"),
    (app, collections.pairs, "lrcr pairs my.index -o pairs.txt --top 20"),
    (app, export.export, "lrcr export my.index -o features.h5"),
    (app, evaluation.evaluate, "lrcr evaluate photos/ --per-query ap.csv"),
    (app, training.train, "lrcr train photos/ -o model.safetensors --recipe context"),
    (app, comparison.compare, "lrcr compare new.csv old.csv --setup medium"),
    (app, inspection.inspect, "lrcr inspect my.index"),
    (app, inspection.verify, "lrcr verify my.index"),
    (app, bench.bench, "lrcr bench my.index --queries 50"),
    (app, released.download_model, "lrcr download-model how_r18 -o how_r18.safetensors"),
    (app, compiling.compile, "lrcr compile"),
    (plot, pictures.maps, "lrcr plot maps photo.jpg --model model.safetensors -o maps.png"),
    (plot, pictures.rankings, "lrcr plot rankings data/NAME a.parquet -o sheet.png"),
):
    group.command(epilog=f"Example: {example}")(command)


def main() -> None:
    """Run the command line."""
    with one_line_errors():
        refuse_ranks()
        use_threads(None)  # commands that read params set it again
        app()


if __name__ == "__main__":
    main()
