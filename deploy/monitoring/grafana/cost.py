"""Owns the dashboard of costs: what a study costs in processor time, energy, bytes and money."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.grafana.panels import Panel, build_dashboard, build_figure, build_graph, build_price

# Without a study there is nothing to divide by.
STUDIES = "(brainmets:studies_succeeded:increase1d > 0)"
OWN_JOBS = 'job=~"brainmets-(api|worker|preprocessing)"'
CPU_S = f"sum by (job) (increase(process_cpu_seconds_total{{{OWN_JOBS}}}[1d]))"
# What is held is paid for, busy or not.
GPU_HOURS = f"24 * count(nv_gpu_utilization{{job='brainmets-triton'}}) / {STUDIES}"


def cost() -> Dashboard:
    """What a study costs in processor time, energy, bytes and money."""
    return build_dashboard(
        "cost",
        "cost per study",
        description="What a study costs. Each point is the mean of a day.",
        prices=[
            build_price("core_hour", "Price of a core for an hour", "0.04"),
            build_price("gpu_hour", "Price of a GPU for an hour", "1.00"),
        ],
        panels=[
            *_money(),
            *_resources(),
        ],
    )


def _money() -> list[Panel]:
    return [
        Row("Money"),
        build_figure(
            "GPU", "none", {"a study": f"$gpu_hour * {GPU_HOURS}"}, note="All GPUs that are held, idle or not."
        ),
        build_figure(
            "CPU of our processes",
            "none",
            {"a study": f"$core_hour / 3600 * sum({CPU_S}) / {STUDIES}"},
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
    ]


def _resources() -> list[Panel]:
    return [
        Row("Resources"),
        build_graph(
            "CPU a study",
            "s",
            {"{{job}}": f"{CPU_S} / on () group_left () {STUDIES}"},
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
    ]
