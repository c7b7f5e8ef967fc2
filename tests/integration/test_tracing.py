"""A study is one trace through all services, Triton too, and nothing of it but counts and identifiers is told."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from pydicom.datadict import DicomDictionary

from active_span import active_span
from brainmets.client import Job
from brainmets.client.phantom import Phantom
from brainmets.v1 import job_pb2, segmentation_service_pb2_grpc, study_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from dicom_cases import write_series, write_zip
from heads import head_geometry, head_on
from integration.running_stack import RunningStack
from local.layout import MODEL_REPOSITORY, REDIS_SERVER, TRITON_BACKENDS
from local.ports import HOST
from metric_pages import pointing
from otlp_collector import CollectedSpan, Collector
from service_calls import file_messages, start

pytestmark = pytest.mark.integration

MODELS = {"nested_unet", "attention_unet"}
CANARY = "ZYXWCANARY"
TRACE_ID, CLIENT_SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# Of the study that our own client sends.
OWN_TRACE_ID = TRACE_ID[::-1]
STUDY_TIMEOUT_S = 120.0
# Batches are sent every five seconds.
EXPORT_TIMEOUT_S = 30.0
ROUNDS = 3
# VRs that hold words: whatever of a dictionary may stand once in an instance.
TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
# Groups below are those of messages and of a file's own head.
FIRST_TAG = 0x00080000
TEXT_TAGS = {
    keyword: CANARY
    for tag, (vr, count, _, retired, keyword) in DicomDictionary.items()
    if tag >= FIRST_TAG and vr in TEXT_VRS and count == "1" and keyword and not retired
}


@dataclass(frozen=True, slots=True)
class Traced:
    """A study that was segmented, and everything that the collector had then."""

    job: job_pb2.Job
    own: Job
    collector: Collector
    pointing: frozenset[str]

    @property
    def spans(self) -> tuple[CollectedSpan, ...]:
        """The spans of the client's trace."""
        return self.spans_of(TRACE_ID)

    def spans_of(self, trace_id: str) -> tuple[CollectedSpan, ...]:
        """Return the spans of one trace."""
        return tuple(span for span in self.collector.spans() if span.trace_id == trace_id)

    def is_complete(self) -> bool:
        """Return whether the attempt's span is there, the worker's last, and Triton's of both networks."""
        attempts = {span.trace_id for span in self.collector.spans() if span.name == "attempt"}
        return attempts == {TRACE_ID, OWN_TRACE_ID} and self.answered_models == MODELS

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many spans came of each service and trace."""
        return Counter((span.service, span.trace_id) for span in self.collector.spans())

    @property
    def sent(self) -> dict[str, str]:
        """The network of each tile that was sent, by the identifier of its span."""
        return {span.span_id: span.attributes["brainmets.model_name"] for span in self.spans if span.name == "infer"}

    @property
    def triton(self) -> dict[str, CollectedSpan]:
        """Triton's spans by their identifiers."""
        return {span.span_id: span for span in self.spans if not span.service.startswith("brainmets")}

    @property
    def answered(self) -> set[str]:
        """The spans of other services that Triton's hang below."""
        return {span.parent_id for span in self.triton.values()} - set(self.triton)

    @property
    def answered_models(self) -> set[str]:
        """The networks of those."""
        return {self.sent[span_id] for span_id in self.answered & set(self.sent)}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """A study with the canary in all of its words, sent by a client that traces; and one sent by ours."""
    if not (REDIS_SERVER.exists() and TRITON_BACKENDS.exists()):
        pytest.skip("needs Triton and Redis in build/ (make test unpacks them)")
    if not list(MODEL_REPOSITORY.glob("*/*/model.onnx")):
        pytest.skip("needs the networks in model_repository (make train export makes them)")
    # OTLP promises no delivery: a batch that a busy machine loses is not sent again, and took a whole run with it once.
    for _ in range(ROUNDS):
        study = trace_studies(tmp_path_factory.mktemp("traced"))
        if study.is_complete():
            return study
    pytest.fail(f"of {ROUNDS} rounds, none told of both studies and both networks; the last one: {study.counts()}")


def trace_studies(folder: Path) -> Traced:
    """Send both studies to a stack of their own; return them once all of their spans came, or none comes any more."""
    collector = Collector()
    with collector.serve(), pytest.MonkeyPatch.context() as environment:
        environment.setenv("BRAINMETS_OTLP_ENDPOINT", collector.endpoint)
        environment.setenv("BRAINMETS_TRITON_OTLP_URL", collector.http_url)
        with RunningStack(folder, model_repository=MODEL_REPOSITORY) as stack:
            jobs = segment(stack), segment_by_our_client(stack)
            ports = stack.place.ports
            told = (ports.api_metrics, ports.worker_metrics, ports.preprocessing_metrics)
            names = (name for port in told for name in pointing(f"{HOST}:{port}", OWN_TRACE_ID))
            study = Traced(*jobs, collector, frozenset(names))
            # Our processes send what is left when they stop; Triton's last batch would be lost.
            give_up_s = time.monotonic() + EXPORT_TIMEOUT_S
            while not study.is_complete() and time.monotonic() < give_up_s:
                time.sleep(0.1)
    return study


def segment(stack: RunningStack) -> job_pb2.Job:
    """Send the study as a client does that has a trace of its own; return its job at the end."""
    volume = head_on(head_geometry(np.eye(3)))
    attributes = {**TEXT_TAGS, "SeriesNumber": 7}
    content = write_zip(write_series(volume, attributes=attributes))
    selection = job_pb2.SeriesSelection(sequence=study_pb2.SEQUENCE_T1C, series_number=7)
    requests = [
        start(CANARY, series=[selection]),
        *file_messages(
            messages.SegmentStudyRequest,
            content,
            sequence=study_pb2.SEQUENCE_UNSPECIFIED,
            media_type=study_pb2.MEDIA_TYPE_DICOM_ZIP,
        ),
    ]
    trace = (
        ("traceparent", f"00-{TRACE_ID}-{CLIENT_SPAN_ID}-01"),
        ("tracestate", f"x={CANARY}"),
        ("baggage", f"y={CANARY}"),
    )
    with grpc.insecure_channel(stack.place.api_address) as channel:
        stub = segmentation_service_pb2_grpc.SegmentationServiceStub(channel)
        *_, last = stub.SegmentStudy(iter(requests), metadata=trace, timeout=STUDY_TIMEOUT_S)
    return last.job


def segment_by_our_client(stack: RunningStack) -> Job:
    """Send a study from within a span of OpenTelemetry; return its job at the end."""
    with stack.client() as client, active_span(OWN_TRACE_ID, CLIENT_SPAN_ID, beside=CANARY):
        return client.segment(Phantom(0).study()).job


def test_our_client_s_study_joins_its_callers_trace(traced: Traced) -> None:
    """From the span that is active where it is called to the worker's, and Triton's where that tells of any."""
    spans = traced.spans_of(OWN_TRACE_ID)
    assert {"brainmets-gateway", "brainmets-worker", "brainmets-preprocessing"} <= {span.service for span in spans}
    known = {span.span_id for span in spans}
    (root,) = (span for span in spans if span.parent_id not in known)
    assert (root.name, root.parent_id) == ("brainmets.v1.SegmentationService/SegmentStudy", CLIENT_SPAN_ID)
    assert root.attributes["brainmets.job_id"] == traced.own.job_id


def test_all_services_are_in_the_clients_trace(traced: Traced) -> None:
    """From the call that accepts the study to the tile that a network decides."""
    assert traced.job.state == job_pb2.JOB_STATE_SUCCEEDED
    services = {span.service for span in traced.spans}
    assert {"brainmets-gateway", "brainmets-worker", "brainmets-preprocessing"} < services
    assert len(services) == 4, "Triton has a name of its own"


def test_the_trace_has_one_root(traced: Traced) -> None:
    """The client's: every other span hangs on one that came."""
    known = {span.span_id for span in traced.spans}
    assert {span.name for span in traced.spans if span.parent_id not in known} == {
        "brainmets.v1.SegmentationService/SegmentStudy"
    }
    (root,) = (span for span in traced.spans if span.parent_id not in known)
    assert root.parent_id == CLIENT_SPAN_ID
    assert root.attributes["brainmets.job_id"] == traced.job.job_id


def test_the_steps_of_a_study_are_told(traced: Traced) -> None:
    """In the worker, in preprocessing, and each file as it is stored."""
    names = {span.name for span in traced.spans}
    assert {"attempt", "preparing", "inferring", "measuring", "writing", "infer", "store"} <= names
    assert {"fetch", "decode", "align", "outline", "normalize", "stream"} <= names
    stored = [span.attributes["brainmets.artifact"] for span in traced.spans if span.name == "store"]
    assert len(stored) == len(set(stored)) == 5


def test_tritons_spans_hang_below_the_tiles_that_were_sent(traced: Traced) -> None:
    """For both networks. Not for every tile: the embedded Triton, of 2024, keeps those of the last few to itself."""
    assert traced.answered <= set(traced.sent)
    assert traced.answered_models == MODELS


def test_nothing_that_a_client_wrote_is_told(traced: Traced) -> None:
    """No text of any tag, no request_id, nothing that rides beside the trace; in no span of any trace."""
    assert len(traced.spans) > 20
    assert CANARY.encode() not in traced.collector.everything()


@pytest.mark.parametrize(
    "name",
    [
        "gateway_rpc_duration_seconds SegmentStudy",
        "worker_rpc_duration_seconds PrepareStudy",
        "worker_rpc_duration_seconds ModelInfer",
        "worker_stage_duration_seconds inferring",
        "worker_tile_duration_seconds attention_unet",
        "preprocessing_rpc_duration_seconds PrepareStudy",
        "preprocessing_stage_duration_seconds decode",
    ],
)
def test_durations_point_to_the_trace(traced: Traced, name: str) -> None:
    """As Prometheus would scrape them from each process: the newest of each bucket."""
    assert f"brainmets_{name}" in traced.pointing


def test_probes_are_no_traces(traced: Traced) -> None:
    """A worker infers a tile every few seconds to see that it can."""
    assert {span.trace_id for span in traced.collector.spans()} == {TRACE_ID, OWN_TRACE_ID}
