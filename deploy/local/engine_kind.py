"""Owns the names of the embedded Triton's engines, apart from what runs them, which takes long to load."""

from collections.abc import Mapping
from enum import StrEnum

from local.errors import StackError

VARIABLE = "BRAINMETS_ENGINE"


class EngineKind(StrEnum):
    """What can run a network."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO_F32 = "openvino-f32"
    OPENVINO_BF16 = "openvino-bf16"
    OPENVINO_INT8 = "openvino-int8"


def read_kind(environment: Mapping[str, str]) -> EngineKind | None:
    """Return the engine that BRAINMETS_ENGINE names, or None where it leaves the choice open.

    Raises:
        StackError: The variable names none.
    """
    name = environment.get(VARIABLE, "")
    if name and name not in set(EngineKind):
        raise StackError(f"{VARIABLE}: expected one of {', '.join(EngineKind)}, got {name}.")
    return EngineKind(name) if name else None
