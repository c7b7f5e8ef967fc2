"""Owns a network's version, which is the network: its digest names it, and its folder in a model repository.

So a Triton with other weights has another version, and cannot answer a call that names this one.
"""

from pathlib import Path

from brainmets.imaging.errors import ModelContractError

GRAPH_NAME = "model.onnx"
# What was rounded from it.
INT8_NAME = "model.int8.onnx"
# The shipped networks lie in this one, from before a version told anything. It is no digest's, but for one in 2^32.
FIRST_VERSION = "1"
# Of a digest, hexadecimal: few enough to be read aloud, and below Triton's largest version.
_DIGITS = 8


def name_version(onnx_sha256: str) -> str:
    """Return the version of the network with an ONNX file of this SHA-256 (hexadecimal): a number, as Triton wants."""
    return str(int(onnx_sha256[:_DIGITS], 16))


def list_versions(folder: Path) -> tuple[Path, ...]:
    """Return the version folders in a network's folder of a model repository: those that are numbers, as for Triton."""
    return tuple(sorted(path for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir()))


def find_graph(folder: Path) -> Path:
    """Return the ONNX file in a network's folder of a model repository; what was made of it lies beside it.

    Raises:
        ModelContractError: There is none, or more than one version: Triton takes the highest number for the newest.
    """
    versions = list_versions(folder)
    if len(versions) != 1 or not (versions[0] / GRAPH_NAME).is_file():
        raise ModelContractError(
            f"There is not one network in {folder.name}",
            expected=f"one folder whose name is a number, with {GRAPH_NAME}",
            got=", ".join(path.name for path in versions) or "none",
            remedy="name a folder that `export` wrote, or take the other versions out of it",
        )
    return versions[0] / GRAPH_NAME


def find_graphs(repository: Path) -> tuple[Path, ...]:
    """Return the ONNX file of each network in a model repository, by name; none where there is no network.

    Raises:
        ModelContractError: One has more than one version.
    """
    folders = {path.parents[1] for path in repository.glob(f"*/*/{GRAPH_NAME}")}
    return tuple(find_graph(folder) for folder in sorted(folders))
