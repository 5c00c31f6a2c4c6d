"""Learning the codebook: visual words for local descriptors, or a whitening for global vectors."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from lrcr.config.params import Params
from lrcr.errors import ArtifactError
from lrcr.features.store import DescriptorStore, open_descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.fit import WordsFit
from lrcr.runtime.device import faiss_uses_gpu
from lrcr.storage.artifacts import Manifest, hash_file, require_params, staged_folder


class CodebookFit(Protocol):
    """Learns a codebook."""

    def fit(self, store: DescriptorStore | None, folder: Path, manifest: Manifest, progress: Progress) -> None:
        """Write the codebook into an existing (staged) folder.

        Args:
            store: descriptors of the fit set; None: nothing is learned, and `codebook.file` is used if it is set.
        """
        ...


def make_codebook(params: Params, fit_folder: Path, folder: Path, progress: Progress = SILENT) -> None:
    """Learn the codebook from the descriptors of the fit set, or take it from `codebook.file`.

    Global models that are not whitened have an empty codebook.

    Raises:
        ArtifactError: the descriptors were made with other params, or the file holds no codebook.
        ParamsError: device is cuda and there is no GPU.
        WeightsError: the file holds no whitening.
    """
    manifest = Manifest("codebook", params.sections("codebook"), hash_codebook_file(params))
    store = open_descriptors(fit_folder) if params.learns_codebook else None
    if store is not None:
        require_params(store.manifest, params.fit_section(), fit_folder)
        inputs = {"model": store.manifest.inputs["model"], "descriptors": store.manifest.fingerprint}
        manifest = replace(manifest, inputs=inputs)
    with staged_folder(folder) as temporary:
        _fit_of(params).fit(store, temporary, manifest, progress)


def hash_codebook_file(params: Params) -> dict[str, str]:
    """The hash of `codebook.file`, as an input of what depends on it; empty without one.

    Raises:
        ArtifactError: there is no such file.
    """
    file = params.codebook.file
    if file is None:
        return {}
    if not Path(file).is_file():
        raise ArtifactError(f"codebook.file: {file}: no such file; name an .npz file")
    return {"file": hash_file(Path(file))}


def _fit_of(params: Params) -> CodebookFit:
    """K-means for local descriptors, whitening for global vectors."""
    if params.model.is_local:
        return WordsFit(params.codebook, faiss_uses_gpu(params.device), params.executor)
    from lrcr.retrieval.flat.fit import WhiteningFit  # imports torch

    return WhiteningFit(params.codebook, params.vector_whitening)
