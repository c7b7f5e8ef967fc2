"""Owns a network's version, which is the network: its digest names it, and its folder in a model repository.

So a Triton with other weights has another version, and cannot answer a call that names this one.
"""

from pathlib import Path

from brainmets.imaging.errors import ModelContractError

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


def find_version(folder: Path) -> Path:
    """Return the one version folder in a network's folder of a model repository.

    Raises:
        ModelContractError: There is none, or more than one: Triton would take the highest number for the newest.
    """
    versions = list_versions(folder)
    if len(versions) != 1:
        raise ModelContractError(
            f"It is not clear which network of {folder.name} is meant",
            expected="one folder whose name is a number",
            got=", ".join(path.name for path in versions) or "none",
            remedy="export the network again, or remove the folders of other versions",
        )
    return versions[0]
