"""Owns the command line that builds TensorRT plans.

Exit codes: 0 every plan is published; 1 a model or a plan failed, its ONNX file stays served; 3 this machine has no
TensorRT or no GPU: what can be checked without them was, and what could not be run is named.
"""

import argparse
import sys
from pathlib import Path

from brainmets.engine.plan import find_build_place, find_missing, publish_plan
from brainmets.engine.precision import Precision, check_parity, infer_on_cpu, write_graph
from brainmets.engine.served_model import ServedModel, load_served_models
from brainmets.imaging.errors import BrainmetsError, ModelContractError

FAILED, UNAVAILABLE = 1, 3
NOT_RUN = "building the plan, its parity on the GPU, and its publication"


def main(arguments: list[str] | None = None) -> int:
    """Build and publish a plan of every model, and return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        models = load_served_models(given.repository)
    except BrainmetsError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    missing = find_missing()
    failed = [not _run(model, given, on_gpu=not missing) for model in models]
    if missing:
        sys.stderr.write(
            f"No plan was built: expected TensorRT and a GPU, missing here: {' and '.join(missing)}; run this in the "
            f"production Triton image on the target GPU. Not run: {NOT_RUN}.\n"
        )
        return FAILED if any(failed) else UNAVAILABLE
    return FAILED if any(failed) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m brainmets.engine", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True, help="the model repository")
    parser.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP16)
    parser.add_argument("--cache", type=Path, default=Path("build/plans"), help="plans that were built before")
    return parser


def _run(model: ServedModel, given: argparse.Namespace, *, on_gpu: bool) -> bool:
    """Build a model's plan, or check its graph where there is no GPU; return whether it passed."""
    try:
        if on_gpu:
            parity = publish_plan(model, given.precision, cache=given.cache, place=find_build_place())
        else:
            infer = infer_on_cpu(write_graph(model, given.precision))
            parity = check_parity(model, infer, given.precision, tiles=model.make_tiles())
    except ModelContractError as error:
        sys.stderr.write(f"{error}\n")
        return False
    what = "plan published" if on_gpu else "graph checked on the CPU"
    sys.stdout.write(
        f"{model.folder.name}: {given.precision} {what}, probability within {parity.largest_difference:.2g}, "
        f"{parity.agreement:.3%} of voxels decided alike; tiles up to {model.shapes.largest}\n"
    )
    return True


if __name__ == "__main__":
    raise SystemExit(main())
