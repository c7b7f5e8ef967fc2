"""Measures one study: the whole path through every service, beside the networks' own compute on the same tiles.

MONAI's sliding window runs the same weights over the same voxels in the same run, and then the stack is given heads of
other sizes, and 1, 8 and 64 studies at once. `python tests/benchmarks/study_bench.py --study PATH` against a running
stack (`make up`); `make bench` does both. It prints a table and writes build/bench.json; it asserts nothing.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from monai_windows import compare_windows
from other_heads import measure_other_heads
from rich.console import Console
from rich.progress import track
from rich.table import Table
from stopwatch import median_seconds, seconds_of

from brainmets.client import Client, Job, find_study_files
from brainmets.formats.study_reader import StudyFile, read_study
from brainmets.imaging.blending import ProbabilityAccumulator, ProbabilityTile
from brainmets.imaging.brain import find_midline
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.quality import assess_quality
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.tiling import Tile, TileGrid, crop_tile, cropped_shape, plan_tiles, spread_tile
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.runtime.network_version import find_graph
from brainmets.training.model_card import CARD_NAME, load_facts
from brainmets.training.served_contract import TILES
from brainmets.wire.tiles import tile_to_proto
from load import NETWORKS, cpu_seconds, find_supervisor, measure_load, uncached_options
from local.engine import choose_kind, infer_in_pieces, open_engine
from local.engine_kind import EngineKind

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "nested_unet": ("nested_unet",),
    "attention_unet": ("attention_unet",),
    "mean": ("nested_unet", "attention_unet"),
}
# The shipped networks' contract; the gateway's start-up check holds the model repository to it.
CONTRACT = TILES
# The first study meets one decoder and its arena with memory that the kernel has yet to clear, the second the other.
WARM_UPS = 2
# How often the networks alone compute a study beside each number of queued ones.
COMPUTES_A_ROW = 3


@dataclass(frozen=True, slots=True)
class PreparedTiles:
    """A study's tiles (1, 4, D + 2 halo, H, W), and how long each step to them took alone, seconds."""

    tiles: list[np.ndarray]
    normalized: NormalizedVolume
    grid: TileGrid
    steps_s: dict[str, float]


def prepare_repeatedly(study: Path, repeats: int) -> tuple[PreparedTiles, dict[str, dict[str, float]]]:
    """Prepare a study some times in this process, with the services' own functions and their way with memory.

    Returns the last one's tiles, and what each step took the first time, when the kernel clears every page, and later.
    """
    first, *later = [prepare(study) for _ in range(repeats + 1)]
    warm_s = {step: round(statistics.median(each.steps_s[step] for each in later), 4) for step in first.steps_s}
    return later[-1], {"first": first.steps_s, "warm": warm_s}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without", nargs="+", choices=("monai", "load"), default=(), help="what is left out")
    arguments = parser.parse_args()
    prepared, preparation_s = prepare_repeatedly(arguments.study, arguments.repeats)
    kind = choose_kind(os.environ, find_graph(ROOT / "model_repository" / "nested_unet"))
    measured = {
        name: measure(name, prepared, kind, study=arguments.study, address=arguments.address, repeats=arguments.repeats)
        for name in track(MODELS, description="Measuring", console=Console(stderr=True))
    }
    if "monai" not in arguments.without:
        for name in track(("nested_unet", "attention_unet"), description="MONAI", console=Console(stderr=True)):
            compare_with_monai(name, measured[name], prepared, kind, study=arguments.study, address=arguments.address)
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "engine": kind.value,
        "repeats": arguments.repeats,
        "study": {
            "sequences": list(prepared.normalized.sequences),
            "normalized_shape": list(prepared.normalized.geometry.shape),
            "tiles": len(prepared.tiles),
            "tile_shapes": [list(tile.shape[1:]) for tile in prepared.tiles],
            "wire_over_volume": wire_over_volume(prepared),
        },
        "preparation_alone_s": preparation_s,
        "networks": measured,
    }
    if "load" not in arguments.without:
        console = Console(stderr=True)
        supervisor = find_supervisor(arguments.address)
        with console.status("Heads of other sizes"):
            report["other_heads"] = measure_other_heads(arguments.study, arguments.address, supervisor)
        with console.status("1, 8 and 64 studies at once"):
            compute = fastest_compute("mean", prepared, kind)
            report["load"] = measure_load(
                arguments.study,
                arguments.address,
                supervisor,
                compute_s=lambda: median_seconds(compute, COMPUTES_A_ROW),
            )
    target = ROOT / "build" / "bench.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    Console().print(f"Written to {target.relative_to(ROOT)}")


def prepare(study: Path) -> PreparedTiles:
    """Prepare a study of NIfTI files once, one step after the other; the service takes some beside each other."""
    steps_s: dict[str, float] = {}

    def timed(step: str, work: Callable[[], object]) -> object:
        started_s = time.perf_counter()
        answer = work()
        steps_s[step] = round(time.perf_counter() - started_s, 4)
        return answer

    files = tuple(
        StudyFile(index, MediaType.NIFTI, Sequence(file.sequence or "t1c"), file.path.read_bytes())
        for index, file in enumerate(find_study_files(study))
    )
    network = load_brain_network()
    read = timed("decode", lambda: read_study(files))
    aligned = timed("align", lambda: align_study(Study(read.volumes), spacing_mm=CONTRACT.spacing_mm))
    outline = timed("outline", lambda: outline_head(aligned.volumes[Sequence.T1C], network))
    normalized = timed("normalize", lambda: normalize_study(aligned, outline))
    timed("midline", lambda: find_midline(outline.brain, aligned.geometry))
    timed("assess", lambda: assess_quality(aligned, normalized))
    grid = timed("plan", lambda: plan_tiles(normalized.geometry.shape, CONTRACT, occupied=normalized.brain))
    indices = range(len(grid.boxes))
    timed("cut", lambda: [tile_to_proto(crop_tile(normalized, grid, index=index)) for index in indices])
    return PreparedTiles([spread(normalized, grid, index) for index in indices], normalized, grid, steps_s)


def spread(normalized: NormalizedVolume, grid: TileGrid, index: int) -> np.ndarray:
    """Return a tile (1, 4, D + 2 halo, H, W) as the networks take it, zeros for absent sequences."""
    # Through float16, as it travels.
    tile = Tile(index, crop_tile(normalized, grid, index=index).voxels.astype(np.float16))
    return spread_tile(tile, grid, present=normalized.sequences, wanted=CONTRACT.sequences)[np.newaxis]


def wire_over_volume(prepared: PreparedTiles) -> float:
    """Return what travels from preprocessing to the worker over the cropped float16 volume's size."""
    grid = prepared.grid
    sent = sum(math.prod(cropped_shape(grid, index=index)) for index in range(len(grid.boxes)))
    return round(sent / math.prod(grid.volume_shape), 3)


def measure(
    name: str, prepared: PreparedTiles, kind: EngineKind, *, study: Path, address: str, repeats: int
) -> dict[str, object]:
    """Return one choice's medians, seconds."""
    compute = fastest_compute(name, prepared, kind)
    with Client(address) as client:
        options = uncached_options(name)
        stages: list[dict[str, float]] = []

        def whole_path() -> None:
            clock = StageClock()
            client.segment(study, next(options), on_progress=clock.changed)
            stages.append(clock.stop())

        supervisor = find_supervisor(address)
        for _ in range(WARM_UPS):
            whole_path()
        stages.clear()
        before_s = cpu_seconds(supervisor)
        # In turns: a machine's speed wanders.
        turns = [(seconds_of(compute), seconds_of(whole_path)) for _ in range(repeats)]
        compute_s, end_to_end_s = (statistics.median(each) for each in zip(*turns, strict=True))
        cpu_s = {name: (spent_s - before_s[name]) / len(stages) for name, spent_s in cpu_seconds(supervisor).items()}
    return {
        "compute_s": round(compute_s, 3),
        "end_to_end_s": round(end_to_end_s, 3),
        "overhead_s": round(end_to_end_s - compute_s, 3),
        "end_to_end_over_compute": round(end_to_end_s / compute_s, 3),
        "cpu_s": {name: round(spent_s, 3) for name, spent_s in cpu_s.items()},
        "stages_s": {stage: round(statistics.median(run.get(stage, 0.0) for run in stages), 3) for stage in stages[-1]},
    }


def compare_with_monai(
    name: str, row: dict, prepared: PreparedTiles, kind: EngineKind, *, study: Path, address: str
) -> None:
    """Add what MONAI's sliding window takes for the same voxels, and how much faster the whole path is."""
    model = ROOT / "model_repository" / name
    engine = open_engine(kind, find_graph(model), threads=len(os.sched_getaffinity(0)))
    accumulator = ProbabilityAccumulator(prepared.grid)
    for index, tile in enumerate(prepared.tiles):
        accumulator.add(ProbabilityTile(index, engine.infer(tile)[0, 0]))
    ours = accumulator.finish(prepared.normalized.geometry).voxels
    voxels = np.zeros((len(CONTRACT.sequences), *ours.shape), dtype=np.float32)
    voxels[[CONTRACT.sequences.index(each) for each in prepared.normalized.sequences]] = prepared.normalized.voxels
    point = load_facts(model / CARD_NAME)["operating_points"]["balanced"]
    options = uncached_options(name)
    with Client(address) as client:
        monai = compare_windows(
            model, voxels, ours, point["threshold"], beside=lambda: client.segment(study, next(options))
        )
    row["monai"] = monai
    for setting in ("usual", "best"):
        row[f"speedup_over_monai_{setting}"] = round(monai[f"{setting}_s"] / monai["beside_s"], 2)


def fastest_compute(name: str, prepared: PreparedTiles, kind: EngineKind) -> Callable[[], None]:
    """Return the faster way to keep all cores busy with the networks' own compute."""
    ways = list(compute_ways(MODELS[name], prepared.tiles, kind))
    for way in ways:
        way()  # what is done once only
    took_s = [median_seconds(way, COMPUTES_A_ROW) for way in ways]
    return ways[took_s.index(min(took_s))]


def compute_ways(names: tuple[str, ...], tiles: list[np.ndarray], kind: EngineKind) -> Iterator[Callable[[], None]]:
    """Yield the ways to keep all cores busy with the tiles: all on one, or one tile on each."""
    cores = len(os.sched_getaffinity(0))
    paths = [find_graph(ROOT / "model_repository" / name) for name in names]
    for lanes in sorted({1, cores}):
        engines = [[open_engine(kind, path, threads=cores // lanes) for path in paths] for _ in range(lanes)]

        def work(engines: list = engines, lanes: int = lanes) -> None:
            # Whoever is free takes the next one: tiles differ, and a core without one would count as the networks' own.
            waiting = iter([(tile, place) for tile in tiles for place in range(len(paths))])

            def run_lane(lane: int) -> None:
                for tile, place in waiting:
                    infer_in_pieces(engines[lane][place], tile, halo=CONTRACT.halo)

            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(run_lane, range(lanes)))

        yield work


class StageClock:
    """Tells how long a job was seen in each stage; sending and fetching are what lies before and after."""

    def __init__(self) -> None:
        self._stage, self._since_s, self._spent_s = "sending", time.perf_counter(), {}

    def changed(self, job: Job) -> None:
        """Note the job's stage."""
        stage = "fetching" if job.state.is_final else job.stage if job.stage != "unspecified" else "queued"
        if stage != self._stage:
            now_s = time.perf_counter()
            self._spent_s[self._stage] = self._spent_s.get(self._stage, 0.0) + now_s - self._since_s
            self._stage, self._since_s = stage, now_s

    def stop(self) -> dict[str, float]:
        """Return seconds by stage."""
        self._spent_s[self._stage] = self._spent_s.get(self._stage, 0.0) + time.perf_counter() - self._since_s
        return self._spent_s


def describe_machine() -> str:
    """Return what it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    extensions = [
        flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8") if flag in flags
    ]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model} ({', '.join(extensions)}), {platform.system()}, Python {sys.version.split()[0]}"


def show(report: dict) -> None:
    """Print the figures."""
    console = Console()
    table = Table(title=f"One study, {report['study']['tiles']} tiles, {report['engine']}", title_justify="left")
    for heading in ("networks", "compute s", "whole path s", "overhead s", "ratio"):
        table.add_column(heading, justify="left" if heading == "networks" else "right")
    for name, row in report["networks"].items():
        table.add_row(
            name,
            f"{row['compute_s']:.2f}",
            f"{row['end_to_end_s']:.2f}",
            f"{row['overhead_s']:.2f}",
            f"{row['end_to_end_over_compute']:.2f}",
        )
    console.print(table)
    show_monai(report, console)
    show_other_heads(report, console)
    show_load(report, console)
    for name, row in report["networks"].items():
        console.print(f"{name}: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row["stages_s"].items()))
        # A loaded machine lengthens every stage; the work that a study is stays nearly the same.
        console.print(
            "    CPU s a study: " + ", ".join(f"{process} {seconds:.2f}" for process, seconds in row["cpu_s"].items())
        )
    for when, steps_s in report["preparation_alone_s"].items():
        steps = ", ".join(f"{step} {seconds:.3f}" for step, seconds in steps_s.items())
        console.print(f"preparation alone, {when}, s: {steps}")
    console.print(f"wire {report['study']['wire_over_volume']} x the cropped volume")
    console.print(f"{report['machine']}, {report['date']}, medians of {report['repeats']}")


def show_monai(report: dict, console: Console) -> None:
    """Print how others would run the same weights."""
    table = Table(
        title="MONAI's sliding window with torch (inference alone), and it over our whole path", title_justify="left"
    )
    table.add_column("networks")
    for heading in ("whole path s", "usual s", "best s", "best setting", "over usual", "over best", "Dice"):
        table.add_column(heading, justify="right")
    rows = {name: row for name, row in report["networks"].items() if "monai" in row}
    for name, row in rows.items():
        monai, best = row["monai"], row["monai"]["best_setting"]
        layout = "channels last" if best["channels_last"] else "NCHW"
        table.add_row(
            name,
            f"{monai['beside_s']:.2f}",
            f"{monai['usual_s']:.2f}",
            f"{monai['best_s']:.2f}",
            f"{best['window'] or 'whole'}, {layout}, batch {best['batch']}",
            f"{row['speedup_over_monai_usual']:.1f} x",
            f"{row['speedup_over_monai_best']:.1f} x",
            f"{monai['agreement_dice']:.4f}",
        )
    if rows:
        console.print(table)


def show_other_heads(report: dict, console: Console) -> None:
    """Print what heads of other sizes take."""
    if "other_heads" not in report:
        return
    heads = report["other_heads"]
    console.print(
        f"{heads['heads']} heads of other sizes, mean of both networks: {heads['first_s']:.2f} s for the first time, "
        f"{heads['again_s']:.2f} s again, the services' CPU time {heads['services_cpu_s']:.2f} s a study, Triton's "
        f"backends {heads['peak_mib'][NETWORKS]} MiB"
    )


def show_load(report: dict, console: Console) -> None:
    """Print what many studies at once take."""
    if "load" not in report:
        return
    table = Table(title="Studies at once, mean of both networks", title_justify="left")
    for heading in (
        "queued",
        "studies an hour",
        "of what compute allows",
        "networks' share of cores",
        "peak memory, MiB",
    ):
        table.add_column(heading, justify="left" if "memory" in heading else "right")
    for row in report["load"]:
        memory = ", ".join(f"{name} {mib}" for name, mib in row["peak_mib"].items())
        table.add_row(
            str(row["queued"]),
            f"{row['studies_per_hour']:.0f}",
            f"{row['of_what_compute_allows']:.2f}",
            f"{row['networks_share_of_cores']:.2f}",
            memory,
        )
    console.print(table)


if __name__ == "__main__":
    main()
