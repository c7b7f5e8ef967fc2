"""Owns the clinical dashboard: what the results and the inputs look like, and whether they drift."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.grafana.panels import Panel, build_bars, build_dashboard, build_graph, build_note

LESIONS = "brainmets_worker_study_lesions"
CEILING = "brainmets_worker_study_intensity_ceiling_deviations"


def clinical() -> Dashboard:
    """What the results and the inputs look like, and whether they drift."""
    return build_dashboard(
        "clinical",
        "clinical and drift",
        description="What results and inputs look like, as counts only.",
        panels=[
            build_note(
                "**Research use only. Not for diagnosis.** Counts over all studies; nothing here names one. A drift "
                "asks for a look at the inputs; it does not say that results are wrong.\n\n"
                "Studies that were segmented, without those that were answered from the cache or sent as tests."
            ),
            *_results(),
            *_segmentations(),
            *_inputs(),
        ],
    )


def _results() -> list[Panel]:
    return [
        Row("Results"),
        build_graph(
            "Lesions a study",
            "short",
            {
                "mean": f"sum(increase({LESIONS}_sum[1d])) / sum(increase({LESIONS}_count[1d]))",
                "mean of 28 days": "brainmets:study_lesions_sum:increase28d / brainmets:study_lesions:increase28d",
                "90 %": f"histogram_quantile(0.9, sum by (le) (rate({LESIONS}_bucket[1d])))",
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
            {"{{le}}": f"sum by (le) (increase({LESIONS}_bucket[7d]))"},
        ),
        build_graph(
            "Studies segmented, sent as tests, and answered from the cache",
            "short",
            {
                "segmented": "brainmets:study_lesions:increase1d",
                "tests": "sum(increase(brainmets_worker_test_studies_total[1d]))",
                "from the cache": "sum(increase(brainmets_worker_cache_hits_total[1d]))",
            },
            note="Canaries say that they are tests, and no other panel of results counts them.",
        ),
    ]


def _segmentations() -> list[Panel]:
    """Return what follows the results in their row: how large lesions are, and how sure the networks."""
    return [
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
                "10 %": "histogram_quantile(0.1, sum by (le) (rate(brainmets_worker_network_agreement_bucket[1d])))",
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
    ]


def _inputs() -> list[Panel]:
    return [
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
            "Brightest of the T1c",
            "none",
            {
                "mean of a day": f"sum(increase({CEILING}_sum[1d])) / sum(increase({CEILING}_count[1d]))",
                "mean of 28 days": f"sum(increase({CEILING}_sum[28d])) / sum(increase({CEILING}_count[28d]))",
                "10 %": f"histogram_quantile(0.1, sum by (le) (rate({CEILING}_bucket[1d])))",
                "90 %": f"histogram_quantile(0.9, sum by (le) (rate({CEILING}_bucket[1d])))",
            },
            note="How far the brightest two-hundredth of its brain lies above the mean, in standard deviations. Some 2 "
            "without contrast medium, 5 or more with it, in public studies.",
        ),
        build_graph(
            "Studies refused",
            "percentunit",
            {
                "6 hours": 'sum(increase(brainmets:jobs_ended:max{reason="invalid_study"}[6h])) '
                "/ brainmets:patient_studies_ended:increase6h"
            },
        ),
        build_graph(
            "Preparations that failed, by reason",
            "short",
            {"{{reason}}": "sum by (reason) (increase(brainmets_preprocessing_failures_total[1d])) > 0"},
            note="QUALITY_REFUSED is a severe finding. A study that is tried again counts again.",
        ),
    ]
