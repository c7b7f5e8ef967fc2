"""Owns whether inference works, found out by inferring: Triton goes on saying ready when a backend has died."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import structlog

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.inference import ModelCatalogue, TileInference
from brainmets.gateway.model_contract import ModelContract, read_contract
from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.tasks import task_group

# Pause between probes; a probe costs some milliseconds.
PROBE_INTERVAL_S = 5.0
# After a failed probe; a backend that restarts is back within seconds, and a stack that starts waits for this last.
RETRY_INTERVAL_S = 0.5
# One failure may be a backend that is busy; two in a row are one that needs help.
FAILURES_BEFORE_REVIVAL = 2
# A network that runs in two processes may have lost one: of two inferences at once it gets one, for it is never busy.
INFERENCES_A_PROBE = 2
# A probe waits behind the tiles in flight, some seconds each on two cores.
PROBE_TIMEOUT_S = 15.0

_log = structlog.get_logger(__name__)


class InferenceHealth:
    """Runs a tiny inference on each model now and then, and tells when the answer changes.

    `infer` must not repeat itself: the first refusal is what is asked for.

    `on_change` is awaited with True once all models infer, and with False once one does not. `revive` is awaited with
    the name of a model whose probes go on failing, and may start its backend again.
    """

    def __init__(
        self,
        catalogue: ModelCatalogue,
        infer: TileInference,
        model_names: tuple[str, ...],
        *,
        on_change: Callable[[bool], Awaitable[None]],
        revive: Callable[[str], Awaitable[None]],
    ) -> None:
        self._catalogue = catalogue
        self._infer = infer
        self._model_names = model_names
        self._on_change = on_change
        self._revive = revive
        self._failures = dict.fromkeys(model_names, 0)
        self._serving = asyncio.Event()

    async def wait_until_serving(self) -> None:
        """Return once inference works; at once while it does."""
        await self._serving.wait()

    async def watch(self) -> None:
        """Probe for ever; inference counts as not working until the first probe succeeded."""
        while True:
            serving = await self._probe_all()
            await self._note(serving=serving)
            await asyncio.sleep(PROBE_INTERVAL_S if serving else RETRY_INTERVAL_S)

    async def _note(self, *, serving: bool) -> None:
        if serving == self._serving.is_set():
            return
        _log.info("inference_health_changed", serving=serving)
        if serving:
            self._serving.set()
        else:
            self._serving.clear()
        await self._on_change(serving)

    async def _probe_all(self) -> bool:
        # One after the other: beside each other they would wait for the same cores.
        return all([await self._infers(model_name) for model_name in self._model_names])

    async def _infers(self, model_name: str) -> bool:
        try:
            await self._probe(model_name)
        except BrainmetsError as error:
            self._failures[model_name] += 1
            _log_failure("inference_probe_failed", model_name, error)
        else:
            self._failures[model_name] = 0
            return True
        if self._failures[model_name] >= FAILURES_BEFORE_REVIVAL:
            await self._help(model_name)
        return False

    async def _help(self, model_name: str) -> None:
        _log.warning("model_revival_begun", model_name=model_name, failures=self._failures[model_name])
        try:
            await self._revive(model_name)
        except BrainmetsError as error:
            _log_failure("model_not_revived", model_name, error)

    async def _probe(self, model_name: str) -> None:
        deadline = Deadline.after(PROBE_TIMEOUT_S)
        model = read_contract(await self._catalogue.describe(model_name))
        async with task_group() as group:
            for _ in range(INFERENCES_A_PROBE):
                group.create_task(self._infer(model, _tiny_tile(model), deadline=deadline))


def _tiny_tile(model: ModelContract) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    tiles = model.tiles
    # Twice the stride: at the stride itself the deepest level is one voxel, which no normalisation layer likes.
    size = 2 * tiles.stride
    shape = (len(tiles.sequences), 1 + 2 * tiles.halo, size, size)  # (C, 1 + 2 halo, H, W)
    return np.zeros(shape, dtype=np.float32)


def _log_failure(event: str, model_name: str, error: BrainmetsError) -> None:
    _log.warning(event, model_name=model_name, reason=error.reason, expected=error.expected, got=error.got)
