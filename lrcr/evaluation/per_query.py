"""A table of the AP and the landmark of each query, stored as CSV, for the comparison of evaluations.

Columns: `query` (id), `landmark` (label of the query's image; empty if it has none), and for each setup (`easy`,
`medium`, `hard`) the average precision in percent, 0–100; empty if the query has no positive.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.dataset import Dataset
from lrcr.errors import ArtifactError
from lrcr.evaluation.metrics import Evaluation
from lrcr.evaluation.protocol import SETUPS
from lrcr.storage.artifacts import staged_file

_DTYPES = {"query": "int64", "landmark": "string", **dict.fromkeys(SETUPS, "float64")}
_TOLERANCE = 1e-9  # rounding error by which an AP may exceed 100


def tabulate_queries(evaluation: Evaluation, dataset: Dataset) -> pd.DataFrame:
    """The table of an evaluation on `dataset`, with Q rows; its columns are described in the module's docstring."""
    return landmark_names(dataset).assign(**evaluation.ap)


def landmark_names(dataset: Dataset) -> pd.DataFrame:
    """The columns `query` and `landmark`, with Q rows; empty for a query that is not in the database."""
    images = dataset.queries["image"].to_numpy(float, na_value=-1)
    names = dataset.images["label"].reindex(images).to_numpy()
    return pd.DataFrame({"query": dataset.queries["query"], "landmark": pd.Series(names, dtype="string")})


def landmark_ids(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The landmark id of each row, int64 of shape (rows,): equal ids for equal names.

    A query without a landmark's name counts as a separate landmark, which is the same in all evaluations.

    Args:
        table: the columns `query` and `landmark` of one evaluation, or of several that are concatenated.
    """
    named = table["landmark"].notna()
    keys = table["landmark"].astype(object).where(named, table["query"])
    return keys.factorize()[0].astype(np.int64)


def write_per_query(path: Path, table: pd.DataFrame) -> None:
    """Write the table as CSV, atomically."""
    with staged_file(path) as temporary:
        table.to_csv(temporary, index=False)


def open_per_query(path: Path) -> pd.DataFrame:
    """Read a stored table.

    Raises:
        ArtifactError: the file is missing or is not such a table.
    """
    try:
        return parse_per_query(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; write it with `lrcr evaluate --per-query`") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); name a file") from None


def parse_per_query(contents: bytes, where: str) -> pd.DataFrame:
    """Parse the bytes of a stored table.

    Args:
        where: name of the file in error messages.

    Raises:
        ArtifactError: the file is not CSV, a column is missing, or a value is not an AP.
    """
    try:
        # "NA" and "null" are valid names of landmarks; only an empty field means that there is none.
        fields = BytesIO(contents)
        texts = pd.read_csv(fields, dtype="string", keep_default_na=False, na_values=[""], index_col=False)
        missing = [name for name in _DTYPES if name not in texts]
        if missing:
            raise ArtifactError(f"{where}: no column {missing[0]!r}; evaluate again")
        table = texts[list(_DTYPES)].astype(_DTYPES)
    except (ValueError, TypeError, OverflowError) as error:
        raise ArtifactError(f"{where}: not a table of APs ({' '.join(str(error).split())}); evaluate again") from None
    for setup in SETUPS:
        wrong = table.loc[(table[setup] < 0) | (table[setup] > 100 + _TOLERANCE), setup]
        if len(wrong):
            raise ArtifactError(f"{where}: {setup}: {wrong.iloc[0]} is not an AP, 0…100; evaluate again")
    return table
