"""Types of the parameters of flows; the Prefect UI draws its forms from them and refuses what does not fit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Architecture = Literal["lstm", "lstm_one_way", "transformer", "boosting"]
Profile = Literal["seed", "selective", "calibrated"]
Count = Annotated[int, Field(ge=1)]
NaturalNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
"""Of a whole, nought left out."""
PartialShare = Annotated[float, Field(ge=0, lt=1)]
"""Of a whole, the whole left out."""
