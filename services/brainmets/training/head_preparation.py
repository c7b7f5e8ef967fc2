"""Owns the preparation of a head whose brain nobody outlined: another head's outline is registered onto it."""

from pathlib import Path

import numpy as np
import SimpleITK

from brainmets.imaging.errors import InvalidArgumentError

HEAD_NAME, BRAIN_NAME = "t1.nii.gz", "brain.nii.gz"
# Both heads are registered on voxels of this size: their outlines matter, and no more.
REGISTRATION_MM = 3.0
# The registered outline errs by some millimetres; so much is taken off it, and lesions stay inside the brain.
MARGIN_VOXELS = 3
SEED = 1


def prepare_head(dicom_folder: Path, template: tuple[Path, Path], out: Path) -> None:
    """Write a DICOM series as `t1.nii.gz` and its brain as `brain.nii.gz`.

    Args:
        dicom_folder: A T1 of a whole head.
        template: Another T1 of a whole head, and the volume that is zero outside of its brain.
        out: Where the two files go.

    Raises:
        InvalidArgumentError: The folder holds no DICOM series.
    """
    reader = SimpleITK.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(dicom_folder))
    if not names:
        raise InvalidArgumentError(
            "There is no head to prepare", expected="a DICOM series", got="none", remedy="name the series' folder"
        )
    reader.SetFileNames(names)
    head = SimpleITK.Cast(reader.Execute(), SimpleITK.sitkFloat32)
    other, brain = (SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32) for path in template)
    transform = _register(_coarse(head), _coarse(other))
    outline = SimpleITK.Resample(brain > 0.0, head, transform, SimpleITK.sitkNearestNeighbor, 0, SimpleITK.sitkUInt8)
    out.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(
        SimpleITK.Cast(SimpleITK.RescaleIntensity(head, 0.0, 4095.0), SimpleITK.sitkInt16), str(out / HEAD_NAME)
    )
    SimpleITK.WriteImage(SimpleITK.BinaryErode(outline, [MARGIN_VOXELS] * 3), str(out / BRAIN_NAME))


def _coarse(image: SimpleITK.Image) -> SimpleITK.Image:
    """Return an image on coarse voxels, smoothed to them."""
    size = [
        max(1, round(count * mm / REGISTRATION_MM))
        for count, mm in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    smooth = SimpleITK.SmoothingRecursiveGaussian(image, REGISTRATION_MM / 2.0)
    grid = SimpleITK.Image(size, SimpleITK.sitkFloat32)
    grid.SetOrigin(image.GetOrigin())
    grid.SetDirection(image.GetDirection())
    grid.SetSpacing([REGISTRATION_MM] * 3)
    return SimpleITK.Resample(smooth, grid)


def _register(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> SimpleITK.Transform:
    """Return the affine transform from one head's points to the other's.

    A template ends below the brain and a whole head goes on to the neck: the heads' tops are laid on each other first.
    """
    start = SimpleITK.AffineTransform(3)
    start.SetCenter(_top_centre(fixed))
    start.SetTranslation((np.array(_top_centre(moving)) - np.array(_top_centre(fixed))).tolist())
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.3, SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=300, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    transform: SimpleITK.Transform = method.Execute(fixed, moving)
    return transform


def _top_centre(image: SimpleITK.Image) -> tuple[float, float, float]:
    """Return the point (LPS mm) 75 mm below the top of a head and in the middle of what lies above 150 mm below it."""
    voxels = SimpleITK.GetArrayFromImage(image)
    indices = np.argwhere(voxels > _otsu(image))
    matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    points = indices[:, ::-1] @ matrix.T + np.array(image.GetOrigin())
    top = np.percentile(points[:, 2], 99.9)
    upper = points[points[:, 2] > top - 150.0]
    x, y = upper[:, :2].mean(axis=0).tolist()
    return x, y, float(top - 75.0)


def _otsu(image: SimpleITK.Image) -> float:
    threshold = SimpleITK.OtsuThresholdImageFilter()
    threshold.Execute(image)
    return float(threshold.GetThreshold())
