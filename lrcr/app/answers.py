"""What the server takes and answers, as JSON. OpenAPI describes it from these classes."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Mark = Literal["easy", "hard", "junk", "wrong"]
PhotoId = Annotated[
    str,
    Field(
        pattern=r"^([0-9a-f]{64}|\d{1,4}-\d{1,12})$",
        description="id of a photo: of an upload, or of an image of an index",
        examples=["0-17"],
    ),
]
BoxList = Annotated[
    tuple[float, float, float, float] | None,
    Field(description="x0, y0, x1, y1 of a part of the query, in pixels as a viewer shows it; null: the whole photo"),
]
IndexNumber = Annotated[int, Field(ge=0, le=9999, description="number of an index, from 0")]


class IndexAnswer(BaseModel):
    """An index that is served."""

    name: str
    images: int
    summary: str = Field(description="size of the index, as a text")
    explains: bool = Field(description="whether results can be explained by matching locations")
    verifies: bool = Field(description="whether it owns local descriptors, so that matches are verified geometrically")
    maps: bool = Field(description="whether its model has maps")


class StateAnswer(BaseModel):
    """What the server serves."""

    indexes: list[IndexAnswer]
    judged: str = Field(description="folder of the judgements, for `lrcr evaluate`")
    depth: int = Field(description="most results of a search")
    upload_bytes: int = Field(description="most bytes of an upload")


class Uploaded(BaseModel):
    """A photo that was uploaded."""

    photo: PhotoId
    name: str
    width: int = Field(description="of the photo as a viewer shows it, in pixels")
    height: int


class Found(BaseModel):
    """One result."""

    rank: int
    score: float = Field(description="larger is more similar")
    confidence: float | None = Field(description="probability that it is correct, 0 to 1; null: not known")
    image: str = Field(description="name of the image")
    label: str | None
    photo: PhotoId
    width: int
    height: int
    mark: Mark | None = Field(description="how it was judged for this query")
    same: bool = Field(description="whether it is the query itself")


class SearchAnswer(BaseModel):
    """Results of a search, from a rank on."""

    query: Uploaded
    box: BoxList
    index: IndexNumber
    total: int = Field(description="number of results, at most `depth`")
    results: list[Found]
    seconds: float = Field(description="time of the search, without waiting")


class Pair(BaseModel):
    """A query and a result."""

    index: IndexNumber = 0
    query: PhotoId
    box: BoxList = None
    photo: PhotoId


Line = tuple[float, float, float, float, float]


class MatchesAnswer(BaseModel):
    """Where a query and a result match."""

    words: list[Line] = Field(
        description="matches of visual words: x and y in the query, x and y in the result, contribution to the score; "
        "the largest contribution first"
    )
    shared: int = Field(description="number of visual words in common, of which `words` has the first")
    inliers: list[Line] | None = Field(
        description="matches of local descriptors that agree on a transformation; null: the index owns no descriptors"
    )


class MapsRequest(BaseModel):
    """A photo to look into."""

    index: IndexNumber = 0
    photo: PhotoId


class MapAnswer(BaseModel):
    """One map of a photo."""

    name: str
    about: str = Field(description="what the values say")
    values: list[list[float]] = Field(description="rows of the map")


class MapsAnswer(BaseModel):
    """The maps of a photo."""

    window: tuple[float, float, float, float] = Field(
        description="left, top, right and bottom of the maps, as fractions of the photo"
    )
    maps: list[MapAnswer]


class Judgement(BaseModel):
    """A judgement of one result."""

    query: PhotoId
    box: BoxList = None
    photo: PhotoId = Field(description="the result")
    mark: Mark | None = Field(description="null takes the judgement back")


class JudgedQuery(BaseModel):
    """A query with judgements."""

    photo: PhotoId | None = Field(description="null: the photo is not served now")
    image: str = Field(description="its name in ground_truth.json")
    box: BoxList
    counts: dict[Mark, int]


class JudgedAnswer(BaseModel):
    """All judgements, by query."""

    queries: list[JudgedQuery]


class Refusal(BaseModel):
    """Why a request was refused, in one line."""

    error: str
