"""Owns what the dashboards ask. `PYTHONPATH=deploy python -m monitoring.grafana.dashboards` writes them.

A hospital sends a few studies an hour: what counts studies looks back an hour or a day, what measures processes looks
back $__rate_interval. Prometheus' recording rules are used where there is one.
"""

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.grafana.panels import build_bars, build_dashboard, build_figure, build_graph, build_note, build_price

FOLDER = Path(__file__).parent / "dashboards"
# Without a study there is nothing to divide by.
STUDIES = "(brainmets:studies_succeeded:increase1d > 0)"
OWN_JOBS = 'job=~"brainmets-(api|worker|preprocessing)"'


def overview() -> Dashboard:
    """Whether the service keeps its objectives, and what it does."""
    return build_dashboard(
        "overview",
        "overview",
        description="Objectives, throughput and turnaround.",
        panels=[
            Row("Objectives over 30 days"),
            build_figure(
                "Accept",
                "percentunit",
                {"served": '1 - brainmets:objective_misses:ratio30d{objective="accept"}'},
                note="Studies and uploads that are not refused by the service's fault. Objective: 99.9 %.",
                alarm_below=0.999,
            ),
            build_figure(
                "Turnaround within 5 minutes",
                "percentunit",
                {"in time": '1 - brainmets:objective_misses:ratio30d{objective="turnaround"}'},
                note="Jobs, from acceptance to their end, without those that clients cancelled. Objective: 99 %.",
                alarm_below=0.99,
            ),
            build_figure(
                "Budget left",
                "percentunit",
                {
                    "{{objective}}": "1 - brainmets:objective_misses:ratio30d "
                    "/ on (objective) brainmets:objective_budget:ratio"
                },
                note="Of the failures that the objectives allow in 30 days.",
                alarm_below=0,
            ),
            build_figure(
                "Jobs past their deadline",
                "short",
                {"jobs": "brainmets:jobs_overdue:max"},
                note="Every accepted job ends. A sweep ends these within seconds; more than a minute is a page.",
            ),
            build_figure(
                "Alerts",
                "short",
                {"{{severity}}": 'count by (severity) (ALERTS{alertstate="firing", severity=~"page|ticket"})'},
                note="Those that fire; docs/runbooks.md tells what to do.",
            ),
            build_graph(
                "Burn rate",
                "short",
                {
                    "{{objective}}, 1 hour": "brainmets:objective_misses:ratio1h "
                    "/ on (objective) brainmets:objective_budget:ratio",
                    "{{objective}}, 6 hours": "brainmets:objective_misses:ratio6h "
                    "/ on (objective) brainmets:objective_budget:ratio",
                },
                note="1 uses the budget up in exactly 30 days. Pages: 14.4 for an hour, or 6 for six hours.",
            ),
            build_graph(
                "Studies brought in, by code",
                "short",
                {"{{code}}": "sum by (code) (increase(brainmets_gateway_submissions_total[1h])) > 0"},
                note="OK is accepted. Each point counts the hour before it.",
            ),
            Row("Studies"),
            build_graph(
                "Jobs that ended",
                "short",
                {"{{state}}": "sum by (state) (increase(brainmets:jobs_ended:max[1h]))"},
                note="Each point counts the hour before it, whoever ended them.",
            ),
            build_graph(
                "Studies that failed, by reason",
                "short",
                {
                    "{{reason}}, {{phase}}": "sum by (reason, phase) "
                    '(increase(brainmets:jobs_ended:max{state="failed"}[1h])) > 0'
                },
                note="Those that a deadline or used-up attempts ended as well; queued: no worker had them.",
            ),
            build_graph(
                "Turnaround",
                "s",
                {
                    f"{share:.0%}": f"histogram_quantile({share}, sum by (le) "
                    '(rate(brainmets:job_turnaround_seconds_bucket:max{state!="cancelled"}[1h])))'
                    for share in (0.5, 0.95, 0.99)
                },
                note="From a job's acceptance to its end, by Redis' clock.",
            ),
            build_graph(
                "Jobs",
                "short",
                {"queued": "brainmets:jobs_queued:max", "running": "brainmets:jobs_running:max"},
            ),
        ],
    )


def stages() -> Dashboard:
    """Where a study's time goes."""
    worker, preparation = "brainmets_worker_stage_duration_seconds", "brainmets_preprocessing_stage_duration_seconds"
    return build_dashboard(
        "stages",
        "stages",
        description="Where a study's time goes.",
        panels=[
            Row("Worker"),
            build_graph("Mean of a stage", "s", {"{{stage}}": _mean(worker, "stage")}, stacked=True),
            build_graph("95 % of a stage", "s", {"{{stage}}": f"stage:{worker}:p95_1h"}),
            build_graph(
                "95 % of a tile",
                "s",
                {
                    "{{model}}": "histogram_quantile(0.95, sum by (le, model) "
                    "(rate(brainmets_worker_tile_duration_seconds_bucket[1h])))"
                },
                note="From sending a tile to its probability, waiting included.",
            ),
            build_graph(
                "Calls that the worker makes, other than OK",
                "short",
                {
                    "{{method}} {{code}}": "sum by (method, code) "
                    '(increase(brainmets_worker_rpcs_total{code!="OK"}[1h]))'
                },
            ),
            Row("Preprocessing"),
            build_graph(
                "Mean of a step",
                "s",
                {"{{stage}}": _mean(preparation, "stage")},
                note="Of stream, one tile.",
                stacked=True,
            ),
            build_graph("95 % of a step", "s", {"{{stage}}": f"stage:{preparation}:p95_1h"}),
            build_graph("Studies under way", "short", {"studies": "sum(brainmets_preprocessing_studies_active)"}),
            build_graph(
                "Decoders replaced",
                "short",
                {"decoders": "sum(increase(brainmets_preprocessing_decoders_discarded_total[1h]))"},
                note="They refused a study, broke on one, or were stopped.",
            ),
        ],
    )


def triton() -> Dashboard:
    """What Triton does with tiles."""
    done = "sum by (model) (rate(nv_inference_request_success{job='brainmets-triton'}[$__rate_interval]))"
    return build_dashboard(
        "triton",
        "Triton",
        description="Inference, as Triton and the workers tell it.",
        panels=[
            Row("Inference"),
            build_figure(
                "Workers that infer",
                "percentunit",
                {"workers": "avg(brainmets_worker_inference_healthy)"},
                note="By a real inference; Triton's own readiness stays true when a backend has died.",
                alarm_below=1,
            ),
            build_figure(
                "Requests that wait",
                "short",
                {"{{model}}": "sum by (model) (nv_inference_pending_request_count{job='brainmets-triton'})"},
            ),
            build_figure("Requests a second", "reqps", {"{{model}}": done}),
            build_figure(
                "Failures in an hour",
                "short",
                {"{{model}}": "sum by (model) (increase(nv_inference_request_failure{job='brainmets-triton'}[1h]))"},
            ),
            build_graph(
                "Time of a request",
                "µs",
                {
                    f"{{{{model}}}}, {part}": f"sum by (model) (rate({metric}[$__rate_interval])) / {done}"
                    for part, metric in (
                        ("waiting", "nv_inference_queue_duration_us{job='brainmets-triton'}"),
                        ("input", "nv_inference_compute_input_duration_us{job='brainmets-triton'}"),
                        ("network", "nv_inference_compute_infer_duration_us{job='brainmets-triton'}"),
                        ("output", "nv_inference_compute_output_duration_us{job='brainmets-triton'}"),
                    )
                },
            ),
            build_graph(
                "Tiles of an execution",
                "short",
                {
                    "{{model}}": "sum by (model) (rate(nv_inference_count{job='brainmets-triton'}[$__rate_interval])) "
                    "/ sum by (model) (rate(nv_inference_exec_count{job='brainmets-triton'}[$__rate_interval]))"
                },
                note="How well dynamic batching fills batches.",
            ),
            build_graph(
                "Networks served",
                "none",
                {"{{model}} {{instance}}": "brainmets_worker_model_digest"},
                note="First 48 bits of their SHA-256. A step is another network; workers must tell the same.",
            ),
            build_graph(
                "Attempts that a dead network cost",
                "short",
                {
                    "inference_unavailable": "sum(increase("
                    'brainmets_worker_failures_total{reason="inference_unavailable"}[1h]))'
                },
                note="Each point counts the hour before it.",
            ),
            Row("Machine"),
            build_graph("GPU", "percentunit", {"{{gpu_uuid}}": "nv_gpu_utilization{job='brainmets-triton'}"}),
            build_graph(
                "GPU memory",
                "bytes",
                {
                    "{{gpu_uuid}} used": "nv_gpu_memory_used_bytes{job='brainmets-triton'}",
                    "{{gpu_uuid}} total": "nv_gpu_memory_total_bytes{job='brainmets-triton'}",
                },
            ),
            build_graph("GPU power", "watt", {"{{gpu_uuid}}": "nv_gpu_power_usage{job='brainmets-triton'}"}),
            build_graph("CPU", "percentunit", {"{{instance}}": "nv_cpu_utilization{job='brainmets-triton'}"}),
        ],
    )


def queue() -> Dashboard:
    """What waits, and how Redis fares that holds it."""
    return build_dashboard(
        "queue",
        "queue and Redis",
        description="What waits, and how Redis fares that holds it.",
        panels=[
            Row("Queue"),
            build_graph(
                "Jobs",
                "short",
                {"queued": "brainmets:jobs_queued:max", "running": "brainmets:jobs_running:max"},
                note="While Redis does not answer, these keep their last values.",
            ),
            build_graph(
                "Oldest study that waits",
                "s",
                {"age": "brainmets:queue_oldest_age_seconds:max"},
                note="Tickets from 2 minutes, pages from 5.",
            ),
            build_graph(
                "Accepted and ended",
                "short",
                {
                    "accepted": "increase(brainmets:jobs_accepted:max[1h])",
                    "ended": "sum(increase(brainmets:jobs_ended:max[1h]))",
                },
                note="Each point counts the hour before it. Over a longer time both are alike, or jobs get lost.",
            ),
            build_graph(
                "Dependencies that answer",
                "percentunit",
                {
                    "{{dependency}}": "avg by (dependency) "
                    "(brainmets_gateway_dependency_up or brainmets_worker_dependency_up)"
                },
                note="Share of the API's and the workers' processes that have an answer.",
            ),
            build_figure(
                "Certificate",
                "s",
                {"valid for": "min(brainmets_gateway_certificate_expiry_timestamp_seconds) - time()"},
                note="The one that clients see. Tickets from 14 days, pages from one.",
                alarm_below=14 * 86400,
            ),
            build_graph(
                "Workers",
                "short",
                {"answering": 'sum(up{job="brainmets-worker"})', "busy": "brainmets:jobs_running:max"},
            ),
            build_graph(
                "Attempts that ended without an outcome",
                "short",
                {
                    "{{outcome}}": "sum by (outcome) "
                    '(increase(brainmets_worker_attempts_total{outcome=~"cancelled|released"}[1h]))'
                },
                note="Cancelled or lost their lease; given back by a worker that stops.",
            ),
            Row("Redis"),
            build_figure("Answers", "bool_yes_no", {"{{instance}}": "redis_up{job='brainmets-redis'}"}, alarm_below=1),
            build_figure(
                "Append-only file on",
                "bool_yes_no",
                {"{{instance}}": "redis_aof_enabled{job='brainmets-redis'}"},
                alarm_below=1,
            ),
            build_figure(
                "Last write kept",
                "bool_yes_no",
                {"{{instance}}": "redis_aof_last_write_status{job='brainmets-redis'}"},
                alarm_below=1,
            ),
            build_figure(
                "Last rewrite kept",
                "bool_yes_no",
                {"{{instance}}": "redis_aof_last_bgrewrite_status{job='brainmets-redis'}"},
                alarm_below=1,
            ),
            build_graph(
                "Memory",
                "bytes",
                {
                    "used": "redis_memory_used_bytes{job='brainmets-redis'}",
                    "limit": "redis_memory_max_bytes{job='brainmets-redis'} > 0",
                },
                note="At the limit Redis refuses every write.",
            ),
            build_graph("Append-only file", "bytes", {"size": "redis_aof_current_size_bytes{job='brainmets-redis'}"}),
            build_graph(
                "Commands",
                "ops",
                {"commands": "rate(redis_commands_processed_total{job='brainmets-redis'}[$__rate_interval])"},
            ),
            build_graph(
                "Time of a command",
                "s",
                {
                    "{{cmd}}": "rate(redis_commands_duration_seconds_total{job='brainmets-redis'}[$__rate_interval]) "
                    "/ rate(redis_commands_total{job='brainmets-redis'}[$__rate_interval])"
                },
                note="Every change of a job is one script: evalsha.",
            ),
            Row("Volumes"),
            build_graph(
                "Room left",
                "percentunit",
                {
                    "{{persistentvolumeclaim}}": 'kubelet_volume_stats_available_bytes{namespace=~"brainmets.*"} '
                    '/ kubelet_volume_stats_capacity_bytes{namespace=~"brainmets.*"}'
                },
                note="Kubernetes only. Tickets below 15 %, pages below 5 %.",
            ),
        ],
    )


def clinical() -> Dashboard:
    """What the results and the inputs look like, and whether they drift."""
    lesions = "brainmets_worker_study_lesions"
    return build_dashboard(
        "clinical",
        "clinical and drift",
        description="What results and inputs look like, as counts only.",
        panels=[
            build_note(
                "**Research use only. Not for diagnosis.** Counts over all studies; nothing here names one. A drift "
                "asks for a look at the inputs; it does not say that results are wrong.\n\n"
                "Studies that were segmented, without those that were answered from the cache."
            ),
            Row("Results"),
            build_graph(
                "Lesions a study",
                "short",
                {
                    "mean": f"sum(increase({lesions}_sum[1d])) / sum(increase({lesions}_count[1d]))",
                    "mean of 28 days": "brainmets:study_lesions_sum:increase28d / brainmets:study_lesions:increase28d",
                    "90 %": f"histogram_quantile(0.9, sum by (le) (rate({lesions}_bucket[1d])))",
                },
                note="Each point counts the day before it.",
            ),
            build_graph(
                "Studies without a lesion",
                "percentunit",
                {
                    "a day": "brainmets:study_lesions_none:increase1d / brainmets:study_lesions:increase1d",
                    "28 days": "brainmets:study_lesions_none:increase28d / brainmets:study_lesions:increase28d",
                },
                note="An empty result is a result like any other; nearly all of a day's is a ticket.",
            ),
            build_bars(
                "Studies of 7 days with at most so many lesions",
                "short",
                {"{{le}}": f"sum by (le) (increase({lesions}_bucket[7d]))"},
            ),
            build_graph(
                "Studies segmented, and answered from the cache",
                "short",
                {
                    "segmented": "brainmets:study_lesions:increase1d",
                    "from the cache": "sum(increase(brainmets_worker_cache_hits_total[1d]))",
                },
            ),
            build_graph(
                "Volume of a lesion",
                "none",
                {
                    f"{share:.0%}, mm³": f"histogram_quantile({share}, sum by (le) "
                    "(rate(brainmets_worker_lesion_volume_mm3_bucket[7d])))"
                    for share in (0.1, 0.5, 0.9)
                },
                note="Each point counts the 7 days before it.",
            ),
            build_graph(
                "Agreement of the two networks",
                "percentunit",
                {
                    "mean": "sum(increase(brainmets_worker_network_agreement_sum[1d])) "
                    "/ sum(increase(brainmets_worker_network_agreement_count[1d]))",
                    "10 %": "histogram_quantile(0.1, sum by (le) "
                    "(rate(brainmets_worker_network_agreement_bucket[1d])))",
                },
                note="Dice of what each decides, where one of them decides something. Unusual inputs lower it.",
            ),
            build_graph(
                "Candidates outside the brain, a study",
                "short",
                {
                    "a day": "sum(increase(brainmets_worker_candidates_outside_brain_total[1d])) "
                    "/ brainmets:study_lesions:increase1d"
                },
                note="Left out of the result. Many: the brain's mask is wrong, or the networks see something new.",
            ),
            Row("Inputs"),
            build_graph(
                "Findings a study",
                "percentunit",
                {
                    "{{finding}}, {{severity}}": "(sum by (finding, severity) "
                    "(increase(brainmets_worker_findings_total[1d])) > 0) "
                    "/ on () group_left () brainmets:study_lesions:increase1d"
                },
                note="Severe ones only where the client insisted; else the study is refused.",
            ),
            build_bars(
                "Studies of 7 days with slices at most so far apart, mm",
                "short",
                {"{{le}}": "sum by (le) (increase(brainmets_worker_study_spacing_mm_bucket[7d]))"},
            ),
            build_graph(
                "Distance of slices",
                "none",
                {
                    "mean of a day, mm": "sum(increase(brainmets_worker_study_spacing_mm_sum[1d])) "
                    "/ sum(increase(brainmets_worker_study_spacing_mm_count[1d]))",
                    "mean of 28 days, mm": "sum(increase(brainmets_worker_study_spacing_mm_sum[28d])) "
                    "/ sum(increase(brainmets_worker_study_spacing_mm_count[28d]))",
                },
                note="A change of protocol shows here first.",
            ),
            build_graph(
                "Studies refused",
                "percentunit",
                {
                    "a day": 'sum(increase(brainmets:jobs_ended:max{reason="invalid_study"}[1d])) '
                    '/ sum(increase(brainmets:jobs_ended:max{state=~"succeeded|failed"}[1d]))'
                },
            ),
            build_graph(
                "Preparations that failed, by reason",
                "short",
                {"{{reason}}": "sum by (reason) (increase(brainmets_preprocessing_failures_total[1d])) > 0"},
                note="QUALITY_REFUSED is a severe finding. A study that is tried again counts again.",
            ),
        ],
    )


def cost() -> Dashboard:
    """What a study costs in processor time, energy, bytes and money."""
    cpu_s = f"sum by (job) (increase(process_cpu_seconds_total{{{OWN_JOBS}}}[1d]))"
    # What is held is paid for, busy or not.
    gpu_hours = f"24 * count(nv_gpu_utilization{{job='brainmets-triton'}}) / {STUDIES}"
    return build_dashboard(
        "cost",
        "cost per study",
        description="What a study costs. Each point is the mean of a day.",
        prices=[
            build_price("core_hour", "Price of a core for an hour", "0.04"),
            build_price("gpu_hour", "Price of a GPU for an hour", "1.00"),
        ],
        panels=[
            Row("Money"),
            build_figure(
                "GPU", "none", {"a study": f"$gpu_hour * {gpu_hours}"}, note="All GPUs that are held, idle or not."
            ),
            build_figure(
                "CPU of our processes",
                "none",
                {"a study": f"$core_hour / 3600 * sum({cpu_s}) / {STUDIES}"},
                note="Used, not reserved; without Triton, Redis and the decoders.",
            ),
            build_figure("Studies of a day", "short", {"studies": STUDIES}),
            build_figure(
                "Tiles a study",
                "short",
                {
                    "{{model}}": "sum by (model) (increase(brainmets_worker_tiles_total[1d])) "
                    f"/ on () group_left () {STUDIES}"
                },
            ),
            Row("Resources"),
            build_graph(
                "CPU a study",
                "s",
                {"{{job}}": f"{cpu_s} / on () group_left () {STUDIES}"},
                note="Probes and waiting included. Decoders are processes of their own and not counted.",
            ),
            build_graph(
                "Compute of the networks a study",
                "s",
                {
                    "{{model}}": "sum by (model) "
                    "(increase(nv_inference_compute_infer_duration_us{job='brainmets-triton'}[1d])) / 1e6 "
                    f"/ on () group_left () {STUDIES}"
                },
            ),
            build_graph(
                "GPU energy a study",
                "joule",
                {"energy": f"sum(increase(nv_energy_consumption{{job='brainmets-triton'}}[1d])) / {STUDIES}"},
            ),
            build_graph(
                "Bytes a study",
                "bytes",
                {
                    legend: f"sum(increase({metric}[1d])) / {STUDIES}"
                    for legend, metric in (
                        ("sent by clients", "brainmets_gateway_received_bytes_total"),
                        ("fetched by clients", "brainmets_gateway_sent_bytes_total"),
                        ("read from the store", "brainmets_preprocessing_read_bytes_total"),
                        ("written to the store", "brainmets_worker_written_bytes_total"),
                        ("tiles", "brainmets_preprocessing_sent_bytes_total"),
                    )
                },
            ),
            build_graph(
                "Memory",
                "bytes",
                {"{{job}}": f"sum by (job) (process_resident_memory_bytes{{{OWN_JOBS}}})"},
                note="Without the decoders.",
            ),
        ],
    )


DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "stages": stages,
    "triton": triton,
    "queue": queue,
    "clinical": clinical,
    "cost": cost,
}


def render(name: str) -> str:
    """Return a dashboard as the JSON that Grafana reads."""
    built = DASHBOARDS[name]().build()
    # Grafana would number them anew at each start, and links to a panel would go astray.
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _mean(histogram: str, label: str) -> str:
    return f"sum by ({label}) (rate({histogram}_sum[1h])) / sum by ({label}) (rate({histogram}_count[1h]))"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(render(name), encoding="utf-8")
