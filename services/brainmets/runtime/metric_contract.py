"""Owns the metrics contract: every metric is declared here, once, with its kind, unit, labels and buckets.

Names are brainmets_<service>_<thing>_<base unit>[_total]; services: gateway (its API), worker, preprocessing. Modules
that record a metric make it from its declaration; docs/metrics.md is this list as a table, and a test compares it with
what each process tells.
"""

from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From an answer out of Redis to a study's deadline.
RPC_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
# From a plane's planning to two networks' compute on two cores; a study takes seconds, so that they lie dense there.
STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# From a study alone on a fast machine to three times the default deadline; 300 is the objective's.
TURNAROUND_BUCKETS_S = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)
# One metastasis, few (up to 4), and counts at which radiosurgery is weighed against whole-brain radiation.
LESION_BUCKETS = (0, 1, 2, 3, 4, 6, 10, 15, 20, 50)
# Spheres of about 3, 4, 5, 6, 8, 10, 15, 20, 30 and 40 mm.
VOLUME_BUCKETS_MM3 = (15.0, 35.0, 65.0, 115.0, 270.0, 525.0, 1770.0, 4190.0, 14140.0, 33510.0)
# Volumetric T1c have 1 mm; a finding warns above 3 mm, and above 7.5 mm it refuses.
SPACING_BUCKETS_MM = (0.7, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5)
# The T1 of three public studies, without their skulls: 1.4 to 2.4 before contrast medium, and 5.0 to 6.4 after it.
CEILING_BUCKETS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
# Dice of two networks that decide alike is near 1; below 0.5 they see different lesions.
AGREEMENT_BUCKETS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Service(StrEnum):
    """Whose metric it is."""

    GATEWAY = "gateway"
    WORKER = "worker"
    PREPROCESSING = "preprocessing"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, in each service that has it.

    Attributes:
        thing: What is counted or measured.
        kind: What it is to Prometheus.
        text: A sentence that explains it.
        services: Who tells it.
        unit: Base unit; empty for a plain number.
        labels: Names of its labels; each takes values of a closed set, none that a client controls.
        buckets: Upper bounds of a histogram, in the unit.
    """

    thing: str
    kind: Kind
    text: str
    services: tuple[Service, ...]
    unit: str = ""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def family(self, service: str) -> str:
        """Return its name in the exposition, without a counter's _total."""
        return "_".join(filter(None, ("brainmets", service, self.thing, self.unit)))

    def name(self, service: str) -> str:
        """Return its name as a query spells it; a histogram's is followed by _bucket, _count or _sum."""
        return self.family(service) + ("_total" if self.kind is Kind.COUNTER else "")

    def counter(self, registry: CollectorRegistry, service: str) -> Counter:
        """Return the counter that is declared."""
        return Counter(self.family(service), self.text, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry, service: str) -> Gauge:
        """Return the gauge that is declared."""
        return Gauge(self.family(service), self.text, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry, service: str) -> Histogram:
        """Return the histogram that is declared."""
        return Histogram(self.family(service), self.text, self.labels, buckets=self.buckets, registry=registry)


_ALL = (Service.GATEWAY, Service.WORKER, Service.PREPROCESSING)
_GATEWAY = (Service.GATEWAY, Service.WORKER)
_API = (Service.GATEWAY,)
_WORKER = (Service.WORKER,)
_PREPROCESSING = (Service.PREPROCESSING,)

# Calls that a process answers, or, of a worker, makes.
RPCS = Metric("rpcs", Kind.COUNTER, "Calls that ended, by code.", _ALL, labels=("method", "code"))
RPC_DURATION = Metric(
    "rpc_duration",
    Kind.HISTOGRAM,
    "Time from a call's start to its end, streams included.",
    _ALL,
    unit="seconds",
    labels=("method",),
    buckets=RPC_BUCKETS_S,
)
RPCS_ACTIVE = Metric("rpcs_active", Kind.GAUGE, "Calls under way.", _ALL, labels=("method",))

# Jobs, as Redis says: the same from whichever process is asked, and combined by their maximum. A process that Redis
# does not answer tells none of them.
JOBS_QUEUED = Metric("jobs_queued", Kind.GAUGE, "Jobs that wait for a worker.", _GATEWAY)
JOBS_RUNNING = Metric("jobs_running", Kind.GAUGE, "Jobs that a worker holds.", _GATEWAY)
# One series to scale workers on: several conditions are combined by their maximum, not by their sum.
JOBS_OUTSTANDING = Metric("jobs_outstanding", Kind.GAUGE, "Jobs accepted and not ended: queued and running.", _GATEWAY)
JOBS_OVERDUE = Metric("jobs_overdue", Kind.GAUGE, "Jobs that are past their deadline and have not ended.", _GATEWAY)
QUEUE_OLDEST_AGE = Metric(
    "queue_oldest_age", Kind.GAUGE, "Age of the job that waits longest.", _GATEWAY, unit="seconds"
)
ERASURE_OLDEST_OVERDUE = Metric(
    "erasure_oldest_overdue",
    Kind.GAUGE,
    "For how long files have been due to be erased that are not: those that wait longest.",
    _GATEWAY,
    unit="seconds",
)
UPLOADS_OPEN = Metric("uploads_open", Kind.GAUGE, "Uploads that are no jobs yet, abandoned ones included.", _GATEWAY)
JOBS_ACCEPTED = Metric("jobs_accepted", Kind.COUNTER, "Jobs accepted.", _GATEWAY)
JOBS_ENDED = Metric(
    "jobs_ended",
    Kind.COUNTER,
    "Jobs that ended, whoever ended them: how, why, and whether they were queued or running.",
    _GATEWAY,
    labels=("state", "reason", "phase"),
)
JOB_TURNAROUND = Metric(
    "job_turnaround",
    Kind.HISTOGRAM,
    "Time from a job's acceptance to its end, by Redis' clock.",
    _GATEWAY,
    unit="seconds",
    labels=("state",),
    buckets=TURNAROUND_BUCKETS_S,
)
DEPENDENCY_UP = Metric(
    "dependency_up",
    Kind.GAUGE,
    "1 while what the process depends on answers it, else 0.",
    _GATEWAY,
    labels=("dependency",),
)

# The API.
SUBMISSIONS = Metric(
    "submissions",
    Kind.COUNTER,
    "Studies that SegmentStudy or SubmitStudy accepted (OK) or refused, by code; what becomes of a job is not in it.",
    _API,
    labels=("code",),
)
API_RECEIVED = Metric("received", Kind.COUNTER, "Bytes of studies that clients sent.", _API, unit="bytes")
API_SENT = Metric("sent", Kind.COUNTER, "Bytes of artefacts that clients fetched.", _API, unit="bytes")
CERTIFICATE_EXPIRY = Metric(
    "certificate_expiry_timestamp",
    Kind.GAUGE,
    "When the certificate that clients see expires, Unix time; absent without one.",
    _API,
    unit="seconds",
)

# What a worker does with the jobs it claims.
ATTEMPTS = Metric("attempts", Kind.COUNTER, "Attempts that ended, by outcome.", _WORKER, labels=("outcome",))
FAILURES = Metric("failures", Kind.COUNTER, "Jobs that a worker failed, by reason.", _WORKER, labels=("reason",))
STAGE_DURATION = Metric(
    "stage_duration",
    Kind.HISTOGRAM,
    "Time a study spent in a stage; of preprocessing's stream, one tile.",
    (Service.WORKER, Service.PREPROCESSING),
    unit="seconds",
    labels=("stage",),
    buckets=STAGE_BUCKETS_S,
)
CACHE_HITS = Metric("cache_hits", Kind.COUNTER, "Jobs answered with an earlier result.", _WORKER)
WRITTEN = Metric("written", Kind.COUNTER, "Bytes of artefacts written.", _WORKER, unit="bytes")
TILES_RECEIVED = Metric("received", Kind.COUNTER, "Bytes of tiles that came from preprocessing.", _WORKER, unit="bytes")
TILES_INFERRED = Metric("tiles", Kind.COUNTER, "Tiles inferred.", _WORKER, labels=("model",))
TILE_DURATION = Metric(
    "tile_duration",
    Kind.HISTOGRAM,
    "Time from sending a tile to its probability, waiting included.",
    _WORKER,
    unit="seconds",
    labels=("model",),
    buckets=STAGE_BUCKETS_S,
)
INFERENCE_HEALTHY = Metric("inference_healthy", Kind.GAUGE, "1 while a real inference succeeds, else 0.", _WORKER)
MODEL_DIGEST = Metric(
    "model_digest",
    Kind.GAUGE,
    "First 48 bits of the SHA-256 of the network that Triton serves under a name; workers must tell the same.",
    _WORKER,
    labels=("model",),
)

# What results and inputs look like, of studies that were segmented and not answered from the cache, without tests.
STUDY_LESIONS = Metric("study_lesions", Kind.HISTOGRAM, "Lesions a study has.", _WORKER, buckets=LESION_BUCKETS)
LESION_VOLUME = Metric(
    "lesion_volume", Kind.HISTOGRAM, "Volume of each lesion.", _WORKER, unit="mm3", buckets=VOLUME_BUCKETS_MM3
)
CANDIDATES_OUTSIDE_BRAIN = Metric(
    "candidates_outside_brain", Kind.COUNTER, "Candidates left out because they lie outside the brain.", _WORKER
)
STUDY_SPACING = Metric(
    "study_spacing",
    Kind.HISTOGRAM,
    "Distance between the T1c's voxels where it is largest, which is that of its slices.",
    _WORKER,
    unit="mm",
    buckets=SPACING_BUCKETS_MM,
)
STUDY_CEILING = Metric(
    "study_intensity_ceiling",
    Kind.HISTOGRAM,
    "How far the brightest two-hundredth of the T1c's brain lies above its mean, in standard deviations.",
    _WORKER,
    unit="deviations",
    buckets=CEILING_BUCKETS,
)
FINDINGS = Metric(
    "findings",
    Kind.COUNTER,
    "Findings about inputs, by what they are about and how much they weigh.",
    _WORKER,
    labels=("finding", "severity"),
)
NETWORK_AGREEMENT = Metric(
    "network_agreement",
    Kind.HISTOGRAM,
    "Dice of what two networks decide each in the tiles of a study; not told where neither decides anything.",
    _WORKER,
    buckets=AGREEMENT_BUCKETS,
)
TEST_STUDIES = Metric(
    "test_studies",
    Kind.COUNTER,
    "Studies segmented to test the service, as canaries are; of their results and inputs nothing else is told.",
    _WORKER,
)

# Preprocessing.
PREPARATION_FAILURES = Metric(
    "failures", Kind.COUNTER, "Studies not prepared, by reason.", _PREPROCESSING, labels=("reason",)
)
STUDIES_ACTIVE = Metric("studies_active", Kind.GAUGE, "Studies under way.", _PREPROCESSING)
TILES_SENT = Metric("tiles", Kind.COUNTER, "Tiles sent.", _PREPROCESSING)
TILE_BYTES_SENT = Metric("sent", Kind.COUNTER, "Bytes of tiles sent.", _PREPROCESSING, unit="bytes")
STORE_READ = Metric("read", Kind.COUNTER, "Bytes read from the artefact store.", _PREPROCESSING, unit="bytes")
DECODERS_DISCARDED = Metric(
    "decoders_discarded",
    Kind.COUNTER,
    "Decoders replaced: they refused a study, broke on one, or were stopped.",
    _PREPROCESSING,
)

# Every declaration of this module, so that none can be forgotten.
METRICS = tuple(value for value in tuple(globals().values()) if isinstance(value, Metric))
