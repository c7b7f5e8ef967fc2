"""Owns the comparison of engines: what a study costs with each, and how alike they decide (`make bench-engines`)."""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from study_bench import MODELS, ROOT, describe_machine, prepare

from brainmets.imaging.evaluation import overlap
from brainmets.runtime.network_version import find_graph
from brainmets.training.heads import HALF
from local.engine import engine_file, open_engine
from local.engine_kind import EngineKind

NETWORKS = MODELS["mean"]
REPETITIONS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="folder of NIfTI files")
    tiles = prepare(parser.parse_args().study).tiles
    table = Table(title=f"A study's {len(tiles)} tiles, one thread", title_justify="left")
    for heading in ("network", "engine", "CPU s", "of bfloat16's", "Dice with ONNX Runtime"):
        table.add_column(heading, justify="left" if heading in {"network", "engine"} else "right")
    for name in track(NETWORKS, console=Console(stderr=True)):
        for row in compare(name, tiles):
            table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(describe_machine())


def compare(name: str, tiles: list[np.ndarray]) -> list[tuple[str, ...]]:
    """Return one network's lines, an engine each; those that cannot run it are left out."""
    model = find_graph(ROOT / "model_repository" / name)
    seconds, masks = {}, {}
    for kind in EngineKind:
        if not engine_file(kind, model).is_file():
            continue
        engine = open_engine(kind, model, threads=1)
        spent_s = []
        for _ in range(1 + REPETITIONS):
            start_s = time.process_time()
            decided = [engine.infer(tile).ravel() > HALF for tile in tiles]
            spent_s.append(time.process_time() - start_s)
        # The first time has each shape's own preparations.
        seconds[kind], masks[kind] = statistics.median(spent_s[1:]), np.concatenate(decided)
    return [
        (
            name,
            str(kind),
            f"{seconds[kind]:.3f}",
            f"{seconds[kind] / seconds[EngineKind.OPENVINO_BF16]:.2f}",
            f"{overlap(masks[EngineKind.ONNXRUNTIME], masks[kind]):.4f}",
        )
        for kind in seconds
    ]


if __name__ == "__main__":
    main()
