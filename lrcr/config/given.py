"""The params that a command or a function of the API is given: they are read, and what has no effect is refused."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrcr.errors import ParamsError
from lrcr.runtime.threads import use_threads

if TYPE_CHECKING:
    from lrcr.config.params import Params
    from lrcr.config.rerank import RerankParams
    from lrcr.config.retrieval import SearchParams


def read_params(file: Path | None, overrides: Sequence[str] | None, recipe: str | None) -> "Params":
    """Read the params of a command, and set the number of threads that they name.

    Raises:
        ParamsError: a key is unknown, or its value is refused.
    """
    from lrcr.config.reading import load_params  # imports pydantic

    params = load_params(file, overrides or (), recipe)
    use_threads(params.threads)
    return params


def params_of_search(
    file: Path | None, overrides: Sequence[str] | None, recipe: str | None
) -> "tuple[SearchParams, list[RerankParams]]":
    """The params of a search and its re-ranking; overrides of params that the index was built with are refused.

    Raises:
        ParamsError: a key is unknown, its value is refused, or it is neither `threads` nor in `search` or `rerank`.
    """
    for override, section in _sections(overrides):
        if section not in ("search", "rerank", "threads"):
            raise ParamsError(f"--set {override}: {section} is decided by the index; set params of search only")
    params = read_params(file, overrides, recipe)
    return params.search, params.rerank


def params_without_training(
    file: Path | None, overrides: Sequence[str] | None, recipe: str | None, model: Path | None, *, searches: bool
) -> "Params":
    """The params of a command that extracts descriptors; overrides that would have no effect are refused.

    Args:
        searches: whether the command also searches.

    Raises:
        ParamsError: a key is unknown, its value is refused, or it would have no effect.
    """
    from lrcr.config.params import MODEL_SECTIONS

    for override, section in _sections(overrides):
        _refuse_datasets(override, section)
        if section in _SEARCH and not searches:
            raise ParamsError(_not_stored(override, section))
        if section == "train":
            raise ParamsError(f"--set {override}: this command does not train; use it with `lrcr train`")
        if model is not None and section in MODEL_SECTIONS:
            raise ParamsError(f"--set {override}: {section} is decided by --model {model}; leave one of the two out")
    return read_params(file, overrides, recipe)


def params_of_training(file: Path | None, overrides: Sequence[str] | None, recipe: str | None) -> "Params":
    """The params of a command that trains; overrides that would have no effect are refused.

    Raises:
        ParamsError: a key is unknown, its value is refused, or it would have no effect.
    """
    from lrcr.config.params import MODEL_SECTIONS, Params

    for override, section in _sections(overrides):
        _refuse_datasets(override, section)
        if section in Params.model_fields and section not in (*MODEL_SECTIONS, "device", "threads"):
            raise ParamsError(f"--set {override}: has no effect on training; set {section} when you index or evaluate")
    return read_params(file, overrides, recipe)


def _sections(overrides: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """Each override, and the section of its key."""
    return ((override, override.partition("=")[0].partition(".")[0]) for override in overrides or ())


def _refuse_datasets(override: str, section: str) -> None:
    if section in ("data", "datasets"):
        raise ParamsError(f"--set {override}: this command reads the folder in its arguments; leave {section} out")


_SEARCH = ("search", "rerank")
_OF_DESCRIPTORS = {"seed", "device", "threads", "executor", "index"}
_OF_DESCRIPTORS |= {f"codebook.{key}" for key in ("words", "per_word", "iterations", "assignment", "seed", "file")}


def params_of_descriptors(
    file: Path | None, overrides: Sequence[str] | None, recipe: str | None, *, searches: bool
) -> "Params":
    """The params of a command that is given descriptors; those of models and extraction keep their defaults.

    Args:
        searches: whether the command also searches.

    Raises:
        ParamsError: a key is unknown, its value is refused, or an override would have no effect.
    """
    from lrcr.config.params import ARCHITECTURE, Params

    for override, section in _sections(overrides):
        key = override.partition("=")[0]
        if section in _SEARCH and not searches:
            raise ParamsError(_not_stored(override, section))
        if section not in _SEARCH and not {key, section} & _OF_DESCRIPTORS:
            raise ParamsError(f"--set {override}: has no effect on --descriptors; leave it out")
    defaults = Params()
    return read_params(file, overrides, recipe).model_copy(
        update={name: getattr(defaults, name) for name in (*ARCHITECTURE, "extract")}
    )


def check_descriptors(descriptors: Path | None, codebook: Path | str | None, of_photos: Mapping[str, object]) -> None:
    """Refuse options, or arguments of the API, that do not go together.

    Args:
        codebook: the value of --codebook-descriptors, which needs --descriptors.
        of_photos: option → value, of those that have no effect beside --descriptors.

    Raises:
        ParamsError: naming the option.
    """
    if descriptors is None and codebook is not None:
        raise ParamsError(f"--codebook-descriptors {codebook}: has no effect without --descriptors; give both")
    for option, value in of_photos.items():
        if descriptors is not None and value:
            raise ParamsError(f"--{option}: has no effect on --descriptors; leave it out")


def _not_stored(override: str, section: str) -> str:
    return f"--set {override}: params of {section} are not stored in an index; use it with `lrcr search`"
