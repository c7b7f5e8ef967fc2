"""Measures one study: the whole path through every service, beside the networks' own compute on the same tiles.

`python tests/benchmarks/study_bench.py --study PATH` against a running stack (`make up`); `make bench` does both.
It prints a table and writes build/bench.json; it asserts nothing.
"""

import argparse
import json
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
from rich.console import Console
from rich.progress import track
from rich.table import Table

from brainmets.client import Client, Job, SegmentationOptions, find_study_files
from brainmets.formats.nifti import read_nifti
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.tiling import TileContract, TileGrid, extract_tile, plan_tiles
from brainmets.runtime.brain_weights import load_brain_network
from local.engine import EngineKind, choose_kind, open_engine

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "nested_unet": ("nested_unet",),
    "attention_unet": ("attention_unet",),
    "mean": ("nested_unet", "attention_unet"),
}
# The shipped networks' contract; `model_repository` and the gateway's start-up check hold it.
CONTRACT = TileContract(
    sequences=tuple(Sequence), spacing_mm=1.0, depth=16, halo=2, stride=16, max_size=256, overlap=0.125
)
DTYPE_BYTES = 2


@dataclass(frozen=True, slots=True)
class PreparedTiles:
    """A study's tiles (1, 4, D + 2 halo, H, W), and how long each step to them took alone, seconds."""

    tiles: list[np.ndarray]
    normalized: NormalizedVolume
    grid: TileGrid
    steps_s: dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    prepared = prepare(arguments.study)
    kind = choose_kind(os.environ)
    measured = {
        name: measure(name, prepared, kind, study=arguments.study, address=arguments.address, repeats=arguments.repeats)
        for name in track(MODELS, description="Measuring", console=Console(stderr=True))
    }
    report = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "engine": kind.value,
        "repeats": arguments.repeats,
        "study": {
            "sequences": list(prepared.normalized.sequences),
            "normalized_shape": list(prepared.normalized.geometry.shape),
            "tiles": len(prepared.tiles),
            "tile_shape": list(prepared.tiles[0].shape[1:]),
            "wire_over_volume": wire_over_volume(prepared),
        },
        "preparation_alone_s": prepared.steps_s,
        "networks": measured,
    }
    target = ROOT / "build" / "bench.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    Console().print(f"Written to {target.relative_to(ROOT)}")


def prepare(study: Path) -> PreparedTiles:
    """Prepare a study in this process, with the services' own functions."""
    steps_s: dict[str, float] = {}

    def timed(step: str, work: Callable[[], object]) -> object:
        started_s = time.perf_counter()
        answer = work()
        steps_s[step] = round(time.perf_counter() - started_s, 4)
        return answer

    files = find_study_files(study)
    volumes = timed(
        "decode",
        lambda: {
            Sequence(file.sequence or "t1c"): read_nifti(file.path.read_bytes(), file_index=index)
            for index, file in enumerate(files)
        },
    )
    aligned = timed("align", lambda: align_study(Study(volumes), spacing_mm=CONTRACT.spacing_mm))
    network = load_brain_network()
    outline = timed("outline", lambda: outline_head(aligned.volumes[Sequence.T1C], network))
    normalized = timed("normalize", lambda: normalize_study(aligned, outline))
    grid = timed("plan", lambda: plan_tiles(normalized.geometry.shape, CONTRACT, occupied=normalized.brain))
    tiles = timed("cut", lambda: [spread(normalized, grid, index) for index in range(len(grid.origins))])
    return PreparedTiles(tiles, normalized, grid, steps_s)


def spread(normalized: NormalizedVolume, grid: TileGrid, index: int) -> np.ndarray:
    """Return a tile (1, 4, D + 2 halo, H, W) as the networks take it, zeros for absent sequences."""
    voxels = extract_tile(normalized, grid, index=index).voxels
    tile = np.zeros((1, len(CONTRACT.sequences), *voxels.shape[1:]), dtype=np.float32)
    for channel, sequence in enumerate(normalized.sequences):
        # Through float16, as it travels.
        tile[0, CONTRACT.sequences.index(sequence)] = voxels[channel].astype(np.float16)
    return tile


def wire_over_volume(prepared: PreparedTiles) -> float:
    """Return what travels from preprocessing to the worker over the cropped float16 volume's size."""
    slices, rows, columns = prepared.grid.volume_shape
    depth, height, width = prepared.grid.tile_shape
    halo = prepared.grid.halo
    sent = sum(
        (min(slices, d + depth + halo) - max(0, d - halo)) * (min(rows, h + height) - h) * (min(columns, w + width) - w)
        for d, h, w in prepared.grid.origins
    )
    return round(sent / (slices * rows * columns), 3)


def measure(
    name: str, prepared: PreparedTiles, kind: EngineKind, *, study: Path, address: str, repeats: int
) -> dict[str, object]:
    """Return one choice's medians, seconds."""
    compute_s = min(
        statistics.median(seconds_of(work, repeats)) for work in compute_ways(MODELS[name], prepared.tiles, kind)
    )
    with Client(address) as client:
        offsets = iter(np.linspace(0.0, 0.01, repeats + 1).tolist())
        stages: list[dict[str, float]] = []

        def whole_path() -> None:
            clock = StageClock()
            # Another threshold each time: the same study decided in the same way would come from the cache.
            options = SegmentationOptions(model=name, threshold=0.5 + next(offsets) + time.time() % 1e-3)
            client.segment(study, options, on_progress=clock.changed)
            stages.append(clock.stop())

        end_to_end_s = statistics.median(seconds_of(whole_path, repeats))
    return {
        "compute_s": round(compute_s, 3),
        "end_to_end_s": round(end_to_end_s, 3),
        "overhead_s": round(end_to_end_s - compute_s, 3),
        "end_to_end_over_compute": round(end_to_end_s / compute_s, 3),
        "stages_s": {
            stage: round(statistics.median(run.get(stage, 0.0) for run in stages[1:]), 3) for stage in stages[-1]
        },
    }


def compute_ways(names: tuple[str, ...], tiles: list[np.ndarray], kind: EngineKind) -> Iterator[Callable[[], None]]:
    """Yield the ways to keep all cores busy with the tiles: all on one, or one tile on each."""
    cores = len(os.sched_getaffinity(0))
    paths = [ROOT / "model_repository" / name / "1" / "model.onnx" for name in names]
    for lanes in sorted({1, cores}):
        engines = [[open_engine(kind, path, threads=cores // lanes) for path in paths] for _ in range(lanes)]

        def work(engines: list = engines, lanes: int = lanes) -> None:
            def run_lane(lane: int) -> None:
                for tile in tiles[lane::lanes]:
                    for engine in engines[lane]:
                        engine.infer(tile)

            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(run_lane, range(lanes)))

        yield work


def seconds_of(work: Callable[[], None], repeats: int) -> list[float]:
    """Return how long each of some runs took, after one that warms up."""
    work()
    durations_s = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        work()
        durations_s.append(time.perf_counter() - started_s)
    return durations_s


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
    extensions = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
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
    for name, row in report["networks"].items():
        console.print(f"{name}: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row["stages_s"].items()))
    steps = ", ".join(f"{step} {seconds:.3f}" for step, seconds in report["preparation_alone_s"].items())
    console.print(f"preparation alone, s: {steps}; wire {report['study']['wire_over_volume']} x the cropped volume")
    console.print(f"{report['machine']}, {report['date']}, medians of {report['repeats']}")


if __name__ == "__main__":
    main()
