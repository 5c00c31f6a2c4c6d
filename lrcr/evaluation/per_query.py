"""The AP of each query beside the landmark it asks for: a table, stored as CSV, by which evaluations are compared.

Columns: `query` (id), `landmark` (label of the query's image; empty where it has none), and for each setup (`easy`,
`medium`, `hard`) the average precision in percent, 0–100; empty where the query has no positive.
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
_ROUNDING = 1e-9  # by which a sum of exact parts may exceed 100


def tabulate_queries(evaluation: Evaluation, dataset: Dataset) -> pd.DataFrame:
    """The table (columns: see the module) of an evaluation on `dataset`, of Q rows."""
    return name_landmarks(dataset).assign(**evaluation.ap)


def name_landmarks(dataset: Dataset) -> pd.DataFrame:
    """The columns `query` and `landmark` of Q rows; a query outside the database has no landmark's name."""
    images = dataset.queries["image"].to_numpy(float, na_value=-1)
    names = dataset.images["label"].reindex(images).to_numpy()
    return pd.DataFrame({"query": dataset.queries["query"], "landmark": pd.Series(names, dtype="string")})


def number_landmarks(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The landmark of each row, int64: equal numbers for equal names.

    Args:
        table: the columns `query` and `landmark`, of one evaluation or of several above each other.

    A query without a name is a landmark of its own: the same one in all evaluations.
    """
    named = table["landmark"].notna()
    keys = table["landmark"].astype(object).where(named, table["query"])
    return keys.factorize()[0].astype(np.int64)


def write_per_query(path: Path, table: pd.DataFrame) -> None:
    """Store the table as CSV, atomically."""
    with staged_file(path) as temporary:
        table.to_csv(temporary, index=False)


def open_per_query(path: Path) -> pd.DataFrame:
    """Read a stored table.

    Raises:
        ArtifactError: it is missing or not such a table.
    """
    try:
        return parse_per_query(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; write it with `lrcr evaluate --ap`") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); name a file") from None


def parse_per_query(contents: bytes, where: str) -> pd.DataFrame:
    """The table from the bytes of its file.

    Args:
        where: what error messages call the file.

    Raises:
        ArtifactError: it is not CSV, lacks a column, or holds what is no AP.
    """
    try:
        # A landmark may be called "NA" or "null"; only an empty field is none.
        fields = BytesIO(contents)
        texts = pd.read_csv(fields, dtype="string", keep_default_na=False, na_values=[""], index_col=False)
        missing = [name for name in _DTYPES if name not in texts]
        if missing:
            raise ArtifactError(f"{where}: no column {missing[0]!r}; evaluate again")
        table = texts[list(_DTYPES)].astype(_DTYPES)
    except (ValueError, TypeError, OverflowError) as error:
        raise ArtifactError(f"{where}: not a table of APs ({' '.join(str(error).split())}); evaluate again") from None
    for setup in SETUPS:
        wrong = table.loc[(table[setup] < 0) | (table[setup] > 100 + _ROUNDING), setup]
        if len(wrong):
            raise ArtifactError(f"{where}: {setup}: {wrong.iloc[0]} is no AP, 0…100; evaluate again")
    return table
