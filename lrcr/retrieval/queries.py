"""Extracting queries with the model and the settings of an index."""

from lrcr.errors import ArtifactError
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.retrieval.layout import MODEL
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import hash_file


def open_extractor(searcher: Searcher) -> Extractor:
    """The model of an open index, with the settings with which its images were extracted.

    Raises:
        ArtifactError: the model is missing or damaged, or is not the model that the index was built with.
    """
    file, params = searcher.folder / MODEL, searcher.params
    extractor = Extractor(file, ExtractSettings.of_database(params), params.device)
    if hash_file(file) != searcher.index.manifest.facts["beside"]["files"][MODEL]["sha256"]:
        raise ArtifactError(f"{file}: not the model that the index was built with; index again")
    return extractor
