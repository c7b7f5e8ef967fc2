"""Owns the dashboard of Triton: what Triton does with tiles."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.grafana.panels import Panel, build_dashboard, build_figure, build_graph

DONE = "sum by (model) (rate(nv_inference_request_success{job='brainmets-triton'}[$__rate_interval]))"


def triton() -> Dashboard:
    """What Triton does with tiles."""
    return build_dashboard(
        "triton",
        "Triton",
        description="Inference, as Triton and the workers tell it.",
        panels=[
            *_inference(),
            *_machine(),
        ],
    )


def _inference() -> list[Panel]:
    return [
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
        build_figure("Requests a second", "reqps", {"{{model}}": DONE}),
        build_figure(
            "Failures in an hour",
            "short",
            {"{{model}}": "sum by (model) (increase(nv_inference_request_failure{job='brainmets-triton'}[1h]))"},
        ),
        build_graph(
            "Time of a request",
            "µs",
            {
                f"{{{{model}}}}, {part}": f"sum by (model) (rate({metric}[$__rate_interval])) / {DONE}"
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
    ]


def _machine() -> list[Panel]:
    return [
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
    ]
