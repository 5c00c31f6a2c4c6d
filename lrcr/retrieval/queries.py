"""Extracting queries with the model and the settings of an index."""

from pathlib import Path

from lrcr.config.params import Params
from lrcr.errors import ArtifactError
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.retrieval.contents import require_model
from lrcr.retrieval.layout import MODEL
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import Manifest, hash_file


def open_extractor(searcher: Searcher) -> Extractor:
    """The model of an open index, with the settings with which its images were extracted.

    Raises:
        ArtifactError: the model is missing or damaged, or is not the model that the index was built with.
    """
    return extractor_of(searcher.folder, searcher.params, searcher.index.manifest)


def extractor_of(folder: Path, params: Params, manifest: Manifest) -> Extractor:
    """As `open_extractor`, of the index in a folder with these params and this manifest; the errors are the same."""
    require_model(folder, manifest.facts)
    file = folder / MODEL
    extractor = Extractor(file, ExtractSettings.of_database(params), params.device)
    if hash_file(file) != manifest.facts["beside"]["files"][MODEL]["sha256"]:
        raise ArtifactError(f"{file}: not the model that the index was built with; index again")
    return extractor
