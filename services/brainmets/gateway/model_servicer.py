"""Answers the published ModelService from what Triton says at call time."""

import asyncio

import grpc
import grpc.aio
from google.protobuf import json_format

from brainmets.gateway.inference import ModelCatalogue
from brainmets.gateway.job_messages import model_to_proto
from brainmets.gateway.model_contract import read_contract
from brainmets.imaging.errors import UnknownModelError
from brainmets.v1 import model_service_pb2 as messages
from brainmets.v1 import model_service_pb2_grpc

# Any context: the servicer asks nothing of its messages.
_Context = grpc.aio.ServicerContext[object, object]


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Tells which networks the service uses."""

    def __init__(self, catalogue: ModelCatalogue, model_names: tuple[str, ...]) -> None:
        self._catalogue = catalogue
        self._model_names = tuple(sorted(model_names))

    async def ListModels(self, request: messages.ListModelsRequest, context: _Context) -> messages.ListModelsResponse:
        """List the models."""
        models = await asyncio.gather(*(self._read(model_name) for model_name in self._model_names))
        return messages.ListModelsResponse(models=models)

    async def GetModel(self, request: messages.GetModelRequest, context: _Context) -> messages.GetModelResponse:
        """Return one model."""
        if request.model_name not in self._model_names:
            raise UnknownModelError(
                "The model is not known",
                expected=f"one of {', '.join(self._model_names)}",
                got="another name",
                remedy="list the models",
            )
        description = await self._catalogue.describe(request.model_name)
        contract = read_contract(description)
        response = messages.GetModelResponse(model=model_to_proto(contract, ready=description.ready))
        json_format.ParseDict(contract.model_card, response.model_card)
        return response

    async def _read(self, model_name: str) -> messages.Model:
        description = await self._catalogue.describe(model_name)
        return model_to_proto(read_contract(description), ready=description.ready)
