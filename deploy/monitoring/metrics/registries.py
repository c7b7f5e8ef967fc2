"""Owns what each service tells from its start, without starting one."""

from prometheus_client import CollectorRegistry

from brainmets.gateway.api import API_METHODS
from brainmets.gateway.grpc_study_preparer import METHOD as PREPARE_METHOD
from brainmets.gateway.job_ledger import JobLedger
from brainmets.gateway.job_metrics import JobMetrics
from brainmets.gateway.jobs import FailureReason, QueueDepth, Stage
from brainmets.gateway.model_contract import ModelChoice
from brainmets.gateway.triton_tile_inferencer import METHOD as INFER_METHOD
from brainmets.preprocessing.servicer import METHODS as PREPROCESSING_METHODS
from brainmets.runtime.metric_contract import Service
from brainmets.runtime.metrics import ApiMetrics, DependencyMetrics, PreprocessingMetrics, RpcMetrics, WorkerMetrics

METHODS = {
    Service.GATEWAY: API_METHODS,
    Service.WORKER: (PREPARE_METHOD, INFER_METHOD),
    Service.PREPROCESSING: PREPROCESSING_METHODS,
}
DEPENDENCIES = {
    Service.GATEWAY: ("redis", "store", "triton"),
    Service.WORKER: ("redis", "store", "triton", "preprocessing"),
}
_DIGEST = "0" * 64


def build_registry(service: Service) -> CollectorRegistry:
    """Return a service's own metrics as they are once it has started; tests compare them with a real process's."""
    registry = CollectorRegistry()
    RpcMetrics(registry, service=service, methods=METHODS[service])
    if service in DEPENDENCIES:
        JobMetrics(registry, service=service).note(QueueDepth(queued=0, running=0, oldest_age_s=0.0), JobLedger())
        DependencyMetrics(registry, service=service, names=DEPENDENCIES[service])
    if service is Service.GATEWAY:
        ApiMetrics(registry).watch_certificate(lambda: 0.0)
    elif service is Service.WORKER:
        models = ModelChoice.MEAN.model_names
        worker = WorkerMetrics(
            registry, stages=(stage for stage in Stage if stage is not Stage.NONE), reasons=FailureReason, models=models
        )
        for model_name in models:
            worker.note_digest(model_name, _DIGEST)
    else:
        PreprocessingMetrics(registry)
    return registry
