"""Owns what Triton says about its models."""

from typing import Any

from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.model_contract import ModelDescription, TensorSpec
from brainmets.gateway.triton_connection import ask_in_turn, not_in_turn, triton_errors
from brainmets.imaging.errors import UnknownModelError

# A question about a model, without inference.
QUESTION_TIMEOUT_S = 5.0


class TritonModelCatalogue:
    """Asks a Triton at call time; the adapter behind the port `ModelCatalogue`."""

    def __init__(self, client: InferenceServerClient) -> None:
        self._client = client

    async def describe(self, model_name: str) -> ModelDescription:
        """Return what is known of a model now.

        Raises:
            UnknownModelError: There is no such model.
            DependencyUnavailableError: Triton cannot be asked now.
        """
        with triton_errors(model_name):
            metadata = await self._client.get_model_metadata(model_name, client_timeout=QUESTION_TIMEOUT_S)
            ready = await self._client.is_model_ready(model_name, client_timeout=QUESTION_TIMEOUT_S)
        if not metadata.versions:
            raise UnknownModelError(
                f"Triton has loaded no version of model {model_name}",
                expected="a loaded version",
                got="none",
                remedy="look at Triton's log",
            )
        version = max(metadata.versions, key=int)
        config = await self._read_config(model_name, version)
        return ModelDescription(
            model_name=model_name,
            model_version=version,
            parameters={name: value.string_value for name, value in config.parameters.items()},
            inputs=_tensors(config.input),
            outputs=_tensors(config.output),
            ready=ready,
        )

    async def _read_config(self, model_name: str, version: str) -> Any:  # Any: as below
        """Return a version's configuration, from a Triton that has this very version."""

        async def call() -> Any:
            with triton_errors(model_name):
                return await self._client.get_model_config(model_name, version, client_timeout=QUESTION_TIMEOUT_S)

        try:
            answer = await ask_in_turn(call)
        except UnknownModelError as error:
            # It was there a moment ago: the model is known.
            raise not_in_turn(model_name) from error
        return answer.config


def _tensors(messages: Any) -> tuple[TensorSpec, ...]:  # Any: tritonclient is published without types
    return tuple(
        TensorSpec(
            name=message.name,
            data_type=message.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[message.data_type].name,
            dims=tuple(message.dims),
        )
        for message in messages
    )
