"""Owns how a model is brought back whose backend process died while Triton goes on saying that it is ready.

A plain load does not help, unload and load do. That needs a Triton that takes such orders
(`--model-control-mode=explicit`); a production server refuses them, and its native backend has no process to lose.
"""

import asyncio
import random

import structlog
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from brainmets.gateway.triton_connection import triton_errors

# Opening a network takes some seconds on busy cores, and an order waits in Triton for the one before.
LOAD_TIMEOUT_S = 60.0
LOOK_INTERVAL_S = 0.2
QUESTION_TIMEOUT_S = 5.0
# Workers notice a dead backend at the same moment; one acts, and the others find it loading, wait, and find it alive.
LONGEST_HESITATION_S = 1.0
# Triton's word for a model that it was ordered to close, and not yet to open again.
_UNLOADED = "unloaded"
_OUT_OF_REACH = "StatusCode.UNAVAILABLE"

_log = structlog.get_logger(__name__)


async def revive(
    client: InferenceServerClient, model_name: str, *, longest_hesitation_s: float = LONGEST_HESITATION_S
) -> None:
    """Unload a model and load it again, unless another has done so meanwhile. Requests to it may be repeated after.

    Raises:
        DependencyUnavailableError: Triton cannot be asked now.
        InferenceFailedError: Triton does not take the order, or cannot load the model.
    """
    with triton_errors(model_name):
        await _check_reached(client)
    await asyncio.sleep(random.uniform(0.0, longest_hesitation_s))  # noqa: S311 -- nobody's secret
    with triton_errors(model_name):
        await _wait_while_loading(client, model_name)
        if await _was_revived(client, model_name):
            return
        await client.unload_model(model_name, client_timeout=LOAD_TIMEOUT_S)
        await client.load_model(model_name, client_timeout=LOAD_TIMEOUT_S)
    _log.info("model_loaded_again", model_name=model_name)


async def _check_reached(client: InferenceServerClient) -> None:
    """Raise the error of a Triton that is starting, or gone: it has no model to load again, and is asked again soon."""
    try:
        await client.is_server_live(client_timeout=QUESTION_TIMEOUT_S)
    except InferenceServerException as error:
        # One that is loading a model for another worker answers late, and is there.
        if error.status() == _OUT_OF_REACH:
            raise


async def is_loading(client: InferenceServerClient, model_name: str) -> bool:
    """Return whether Triton says that it is opening a model, or has closed it to do so, as whoever revives one does.

    Raises:
        InferenceServerException: Triton cannot be asked now.
    """
    index = await client.get_model_repository_index(client_timeout=QUESTION_TIMEOUT_S)
    return any(
        model.name == model_name and (model.state in {"LOADING", "UNLOADING"} or model.reason == _UNLOADED)
        for model in index.models
    )


async def _wait_while_loading(client: InferenceServerClient, model_name: str) -> None:
    """Return once nobody loads a model any more, or it takes too long."""
    looks = round(LOAD_TIMEOUT_S / LOOK_INTERVAL_S)
    while looks and await is_loading(client, model_name):
        await asyncio.sleep(LOOK_INTERVAL_S)
        looks -= 1


async def _was_revived(client: InferenceServerClient, model_name: str) -> bool:
    """Return whether a model is loaded and no inference has failed since; Triton counts from each load anew."""
    try:
        answer = await client.get_inference_statistics(model_name, client_timeout=QUESTION_TIMEOUT_S)
    except InferenceServerException:
        # Not loaded: whoever unloaded it may have died before the load.
        return False
    return all(model.inference_stats.fail.count == 0 for model in answer.model_stats)
