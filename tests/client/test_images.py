"""Images in memory: every library's image is sent as the same study, and comes back on the same grid."""

import gzip
import importlib
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from brainmets.client import AsyncClient, MissingLibraryError, StudyPathError, files_of_images
from gateway_bench import GatewayBench, study_bytes

AFFINE = np.eye(4)
VOXELS = np.zeros((2, 3, 4), np.float32)


def as_nibabel() -> nib.Nifti1Image:
    """Return the bench's head as nibabel has it."""
    return nib.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(study_bytes())))


def as_simpleitk(folder: Path) -> SimpleITK.Image:
    """Return the bench's head as SimpleITK has it."""
    path = folder / "head.nii.gz"
    path.write_bytes(study_bytes())
    return SimpleITK.ReadImage(str(path))


@pytest.mark.parametrize("library", ["nibabel", "simpleitk", "numpy"])
async def test_an_image_is_segmented_and_its_mask_lies_on_its_grid(
    bench: GatewayBench, tmp_path: Path, library: str
) -> None:
    """Whatever holds it; the mask comes back as an image of the same geometry."""
    head = as_nibabel()
    images: dict[str, Any] = {
        "nibabel": head,
        "simpleitk": as_simpleitk(tmp_path),
        "numpy": (np.asanyarray(head.dataobj), head.affine),
    }
    async with AsyncClient(bench.address) as client:
        segmentation = await client.segment({"t1c": images[library]})
    assert len(segmentation.lesions) == 1
    mask = segmentation.nibabel_image()
    assert mask.shape == head.shape
    assert mask.affine == pytest.approx(head.affine, abs=1e-4)
    assert segmentation.array().sum() > 0
    ours, theirs = segmentation.simpleitk_image(), images["simpleitk"]
    assert ours.GetSize() == theirs.GetSize()
    assert ours.GetOrigin() == pytest.approx(theirs.GetOrigin(), abs=1e-4)
    assert segmentation.simpleitk_image("probability.nii.gz").GetSize() == theirs.GetSize()


def test_sequences_go_out_in_the_networks_order() -> None:
    """However they were given."""
    files = files_of_images({"t2f": as_nibabel(), "t1c": as_nibabel()})
    assert [file.sequence for file in files] == ["t1c", "t2f"]
    assert b"".join(files[0].chunks()) == files[0].content
    assert files[0].size_bytes == len(files[0].content)


@pytest.mark.parametrize("images", [{}, {"t2f": "x"}, {"t1c": "path.nii"}, {"t1c": np.zeros(3), "flair": np.zeros(3)}])
def test_what_is_no_study_is_one_sentence(images: dict[str, Any]) -> None:
    """It says what was expected and what came."""
    with pytest.raises(StudyPathError, match=r"expected .* got "):
        files_of_images(images)


class ImageOfAnotherLibrary:
    """What ITK and VTK have in common with SimpleITK."""

    def GetSpacing(self) -> tuple[float, ...]:  # noqa: N802 -- their name
        """Return the size of a voxel."""
        return (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "image",
    [nib.MGHImage(VOXELS, AFFINE), nib.Nifti1Pair(VOXELS, AFFINE), ImageOfAnotherLibrary()],
    ids=["FreeSurfer", "two files", "neither library's"],
)
def test_an_image_that_is_sent_as_no_nifti_is_refused_here(image: Any) -> None:
    """Before a byte is sent; the sentence says how to make one of it."""
    with pytest.raises(StudyPathError, match=rf"got {type(image).__name__}; .*nibabel\.Nifti1Image\.from_image"):
        files_of_images({"t1c": image})


@pytest.mark.parametrize("kind", ["bool", "float16", "int64", "uint64", ">i8"])
def test_voxels_of_a_type_that_nifti_lacks_are_sent_as_the_same_numbers(kind: str) -> None:
    """Or that its library writes only when told to: NumPy makes whole numbers of 64 bits unless told otherwise."""
    voxels = np.arange(24).reshape(2, 3, 4).astype(kind)
    (file,) = files_of_images({"t1c": (voxels, np.eye(4))})
    sent = nib.Nifti1Image.from_bytes(file.content)
    assert np.array_equal(np.asanyarray(sent.dataobj), voxels)


@pytest.mark.parametrize(
    "pair",
    [
        (VOXELS.astype(str), AFFINE),
        (VOXELS.astype(object), AFFINE),
        (VOXELS, np.eye(3)),
        (VOXELS, "affine"),
        (VOXELS, None),
        ("voxels", AFFINE),
        (np.zeros((2,) * 8), AFFINE),
        ([[1], [1, 2]], AFFINE),
    ],
    ids=["text", "object", "3x3", "word", "none", "no array", "eight", "ragged"],
)
def test_a_pair_that_is_no_image_is_one_sentence(pair: tuple[Any, Any]) -> None:
    """It names the sequence, and shows nothing of the voxels."""
    with pytest.raises(StudyPathError, match=r"expected t1c as .* got "):
        files_of_images({"t1c": pair})


def test_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to get it."""

    def refuse(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingLibraryError, match="pip install nibabel"):
        files_of_images({"t1c": (np.zeros((2, 2, 2)), np.eye(4))})


@pytest.mark.parametrize(
    ("study", "got"), [(as_nibabel(), "Nifti1Image"), (["a-t1c.nii.gz"], "list of str"), (7, "int")]
)
async def test_what_is_no_study_is_refused_before_anything_is_sent(study: Any, got: str) -> None:
    """Such as an image without its sequence: what is expected is said, and not an error of its library."""
    async with AsyncClient("127.0.0.1:1") as client:
        for call in (client.segment, client.submit):
            with pytest.raises(StudyPathError, match=rf"expected a path, .*\{{\"t1c\": image\}}; got {got}$"):
                await call(study)
