"""What all sections of the configuration share: unknown keys are refused, values are frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Ns = Annotated[int, Field(ge=-(10**18), le=10**18)]
"""Nanoseconds since something; no session lasts thirty years."""
Ms = Annotated[int, Field(ge=-(10**12), le=10**12)]
"""As Ns, in milliseconds."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, coerce_numbers_to_str=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _bool_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        # pydantic would read `threads: yes` as 1.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false fit only what is switched on or off")
        return value
