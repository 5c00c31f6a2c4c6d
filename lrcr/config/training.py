"""The sections of the params that say how a model is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from lrcr.config.base import Compute, Count, Natural, NotNegative, Section
from lrcr.config.labels import ClassificationParams, ListwiseParams, PretrainParams
from lrcr.config.model import Method
from lrcr.config.tuples import TuplesParams
from lrcr.config.validation import ValidationParams


def _in_one_line(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:  # one error for each member of the union
        raise ValueError("must be none, backbone or a number of stages ≥ 1") from None


Freeze = Annotated[Literal["none", "backbone"] | Count, WrapValidator(_in_one_line)]


class TrainParams(Section):
    """Training. Of the sections `tuples`, `listwise` and `classification` only that of the method is read."""

    method: Method | None = Field(
        None,
        description="null: as published (apgem: listwise; delf, delg, cfcd: classification; all others: tuples)",
    )
    epochs: Natural = Field(
        20, description="epochs of each phase; 0: off the shelf, only the whitening is learned. HOW: 20"
    )
    image_size: Count = Field(1024, description="longest side in pixels; HOW: 1024")
    compute: Compute = Field(
        "float16",
        description=(
            "arithmetic of the trunk's passes without gradient, as extract.compute (float16: on a CPU float32): maps "
            "of frozen stages, mining, validation, whitening"
        ),
    )
    freeze: Freeze = Field(
        "none",
        description=(
            "what of the trunk is not trained: none, all of it, or all but its last stages, given their number. The "
            "maps of the frozen stages are computed only once (method tuples). HOW: none"
        ),
    )
    weight_decay: NotNegative = Field(1e-4, description="of the optimiser, ≥ 0; HOW, CFCD: 1e-4")
    validation: ValidationParams = Field(ValidationParams(), description="how the best epoch is chosen")
    pretrain: PretrainParams = Field(
        PretrainParams(), description="with backbone.weights none, and of fire: classification before the method"
    )
    tuples: TuplesParams = Field(TuplesParams(), description="method tuples")
    listwise: ListwiseParams = Field(ListwiseParams(), description="method listwise")
    classification: ClassificationParams = Field(ClassificationParams(), description="method classification")

    @property
    def trained_stages(self) -> int | None:
        """The number of stages at the end of the trunk that are trained; None: the whole trunk is."""
        if isinstance(self.freeze, int):
            return self.freeze
        return None if self.freeze == "none" else 0

    def resolved(self, method: Method, pretrainable: bool, validation: str) -> dict[str, Any]:
        """What training by this method reads, as plain values: its own section, and of the others what is used.

        Args:
            pretrainable: whether a part of the model has no weights, for which there is pretraining.
            validation: global or asmk.
        """
        values = self.model_dump(mode="json", exclude={"method", "pretrain", "tuples", "listwise", "classification"})
        if pretrainable and self.epochs:
            pretrain = self.pretrain
            values["pretrain"] = pretrain.model_dump(mode="json", include=None if pretrain.epochs else {"epochs"})
        values["validation"]["by"] = validation
        if validation != "asmk":
            values["validation"] = {"by": validation, "every": self.validation.every}
        return {**values, "method": method, method: getattr(self, method).model_dump(mode="json")}
