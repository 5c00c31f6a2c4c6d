"""The base class of a section of the params, and the types of the numbers in it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Compute = Literal["auto", "float32", "bfloat16", "float16"]
Scales = Annotated[list[Positive], Field(min_length=1)]


class Section(BaseModel):
    """A section of the params: unknown keys and wrong types are refused.

    A validator of a whole section raises ValueError with a message that starts with the key at fault: `key: value ...`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def subsections(section: type[Section]) -> dict[str, type[Section]]:
    """The keys of a section that are sections themselves, and their classes."""
    annotations = {key: field.annotation for key, field in section.model_fields.items()}
    return {key: found for key, found in annotations.items() if isinstance(found, type) and issubclass(found, Section)}
