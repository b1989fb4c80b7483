"""Types of configuration fields: names of a table, sizes, shares; and the base of all sections."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUseDefault, core_schema

from distill.errors import did_you_mean
from teachers.model import MAX_SIDE, MIN_SIDE

MOST = 2**32 - 1  # of any number: NumPy's largest seed, and more than any other key needs


@dataclass(frozen=True)
class OneOf:
    """Accepts the names of a table of this project, so that a new entry there is a new legal value here."""

    known: tuple[str, ...]

    def check(self, value: str) -> str:
        """Raise unless the name is known."""
        if value not in self.known:
            names, near = ", ".join(self.known), did_you_mean(value, self.known)
            raise PydanticCustomError("unknown_name", "expected one of {names}{near}", {"names": names, "near": near})
        return value

    def __get_pydantic_core_schema__(self, source: type[object], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": list(self.known)}


def one_of(known: Iterable[str]) -> OneOf:
    """`OneOf` of any collection of names."""
    return OneOf(tuple(known))


def default_for_null(value: object) -> object:
    """Let null stand for the default."""
    if value is None:
        raise PydanticUseDefault
    return value


def plain_number(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Refuse a truth value, which would count as 1 or 0, and what no machine could carry out."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "expected a number, not true or false")
    number = handler(value)
    if abs(number) > MOST:
        raise PydanticCustomError("too_large", "expected at most {most}", {"most": MOST})
    return number


def truth_or_auto(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Name all that is allowed in one message, where a union would give one for each of its types."""
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("truth_or_auto", "expected true, false or auto") from None


OrNull = BeforeValidator(default_for_null)
NO = BeforeValidator(lambda value: "no" if value is False else value)  # as YAML 1.1 takes the word
NUMBER = WrapValidator(plain_number)
TruthOrAuto = Annotated[bool | Literal["auto"], WrapValidator(truth_or_auto)]
Number = Annotated[float, NUMBER]
PositiveFloat = Annotated[float, Field(gt=0), NUMBER]
NonNegativeFloat = Annotated[float, Field(ge=0), NUMBER]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]
PositiveShare = Annotated[float, Field(gt=0, le=1), NUMBER]
HeldShare = Annotated[float, Field(gt=0, lt=1), NUMBER]
Decay = Annotated[float, Field(ge=0, lt=1), NUMBER]
PositiveInt = Annotated[int, Field(gt=0), NUMBER]
NonNegativeInt = Annotated[int, Field(ge=0), NUMBER]
Amount = Annotated[int, Field(gt=0, le=65536), NUMBER]  # of what memory holds at once: images of a step, channels
Workers = Annotated[int, Field(ge=0, le=1024), NUMBER]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE), NUMBER]
Size = Annotated[tuple[Side, Side], Field(description="Height and width in pixels.")]


class Section(BaseModel):
    """Base of all sections: constant, and no key that is not declared; ~ in a path is one's home, as in a shell."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="after")
    @classmethod
    def find_home(cls, value: object) -> object:
        """Put one's home in place of ~, which no shell does behind an equals sign."""
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value
