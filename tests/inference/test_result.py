"""What a result says of itself, and how it is saved and shown."""

from __future__ import annotations

import base64
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

import matplotlib
import nibabel
import numpy as np
import pytest

import petrt
from petrt.cli.app import run as cli
from petrt.errors import AssumedGrid, DeviceError, InputError, UsageError
from petrt.inference.reconstruction import Reconstruction
from petrt.io import nifti
from petrt.io.source import read
from tests.helpers import contents, write_nifti
from tests.models import Reconstructor, noisy_blob
from tests.suv.series_files import write as write_series

SHAPE = (16, 24, 5)
OPTIONS: dict[str, Any] = {"samples": 2, "steps": 1, "threads": 1, "seed": 3}
ARGUMENTS = ["--samples", "2", "--steps", "1", "--threads", "1", "--seed", "3"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def run(tiny_bundle) -> Reconstructor:
    return Reconstructor(tiny_bundle, **OPTIONS)


@pytest.fixture(scope="module")
def low(tmp_path_factory) -> Path:
    return write_nifti(tmp_path_factory.mktemp("low") / "low.nii.gz", noisy_blob(SHAPE))


@pytest.fixture(scope="module")
def result(run, low) -> Reconstruction:
    return run(low)


def command(bundle: Path, *arguments: object) -> None:
    words = ["reconstruct", *map(str, arguments), "--model", str(bundle), *ARGUMENTS]
    assert cli([*words, "--allow-activity-change"]) == 0


def test_one_line_says_what_it_is(run, result):
    assert repr(run) == (
        "Reconstructor(model tiny, 2 samples of ddpm, 1 step, seed 3, native fp32 on cpu)"
    )
    assert repr(result) == (
        "Reconstruction(16 x 24 x 5, 2 mm, 2 samples, std not calibrated, model tiny)"
    )
    several = Reconstructor(run.bundle, preset="coarse", strength=0.5)
    series = several(np.stack([noisy_blob(SHAPE)] * 2, -1), voxel_mm=(1, 2, 2.5), dose="1/20")
    assert repr(several).startswith(
        "Reconstructor(model tiny, coarse prediction, no samples, strength 0.5, seed 0, "
    )
    assert repr(series) == (
        "Reconstruction(16 x 24 x 5 x 2, 1 x 2 x 2.5 mm, dose 1/20 (given), "
        "coarse prediction, no samples, strength 0.5, model tiny)"
    )


def test_the_line_has_the_unit(run, tmp_path):
    write_series(tmp_path / "series", shape=(12, 11, 6))
    assert ", Bq/ml, " in repr(run(tmp_path / "series"))
    path = write_nifti(tmp_path / "low.nii", noisy_blob(SHAPE))
    (tmp_path / "low.json").write_text('{"Units": "kBq/mL"}')
    assert ", kBq/mL, " in repr(run(path))


def test_a_notebook_shows_a_small_picture_and_no_name(tiny_bundle, tmp_path):
    path = write_nifti(tmp_path / "DOE^JANE.nii.gz", noisy_blob(SHAPE))
    result = petrt.Reconstructor(tiny_bundle, **OPTIONS)(path, allow_activity_change=True)
    shown = result._repr_html_()
    assert "DOE" not in shown
    assert "Reconstruction(16 x 24 x 5" in shown
    assert "not for diagnostic use" in shown
    for warning in result.stats["warnings"]:
        assert warning in shown
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    image = base64.b64decode(data)
    assert image.startswith(PNG)
    assert int.from_bytes(image[16:20], "big") == 720  # the width, in a PNG's header
    assert len(image) < 200_000


def test_a_notebook_shows_text_as_text(result):
    stats = result.stats | {"warnings": ["<script>alert(1)</script>"]}
    odd = Reconstruction(result.image, None, result.coarse, stats, origin=result.origin)
    assert "<script>" not in odd._repr_html_()
    alone = Reconstruction(result.image, None, result.coarse, stats)
    assert alone._repr_html_() is None
    assert repr(alone) == "Reconstruction(2 samples, model tiny)"
    with pytest.raises(UsageError, match="does not know its input"):
        alone.save("x.nii")


def test_saved_as_the_command_saves_it(result, low, tiny_bundle, tmp_path):
    names = ("image.nii.gz", "std.nii.gz", "coarse.nii.gz", "view.png")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    image, std, coarse, view = (theirs / name for name in names)
    more = ["--std", std, "--coarse", coarse, "--preview", view]
    command(tiny_bundle, low, image, *more)
    for name in names:
        role = name.partition(".")[0] if name != "view.png" else "image"
        result.save(ours / name, what=role)
    assert contents(ours) == contents(theirs)
    header = nibabel.load(ours / "image.nii.gz").header
    assert header["descrip"].item() == b"petrt; not for diagnostic use"
    assert len(header["intent_name"].item()) == 15
    petrt.reconstruct(
        low, ours / "again.nii.gz", model=tiny_bundle, allow_activity_change=True, **OPTIONS
    )
    assert (ours / "again.nii.gz").read_bytes() == (ours / "image.nii.gz").read_bytes()


def test_of_dicom_a_series_as_the_command_writes_it(run, tiny_bundle, tmp_path):
    write_series(tmp_path / "series", shape=(12, 11, 6))
    result = run(str(tmp_path / "series"))
    result.save(tmp_path / "ours")
    result.save(tmp_path / "ours_std", what="std", compress="rle")
    result.save(tmp_path / "image.nii")
    std = ["--std", tmp_path / "std", "--compress", "rle"]
    command(tiny_bundle, tmp_path / "series", tmp_path / "theirs", *std)
    derived = contents(tmp_path / "theirs")
    assert len(derived) == 6
    # --compress is for both of them: the compressed series is only compared with its own kind.
    assert contents(tmp_path / "ours_std") == contents(tmp_path / "std")
    command(tiny_bundle, tmp_path / "series", tmp_path / "plain")
    assert contents(tmp_path / "ours") == contents(tmp_path / "plain")
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "image.nii").get_fdata(), result.image.get_fdata()
    )


def test_an_array_is_saved_on_its_grid(run, tmp_path):
    volume, affine = noisy_blob(SHAPE), np.diag([-2.0, 2.0, 3.0, 1.0])
    given = run(volume, affine=affine)
    given.save(tmp_path / "affine.nii")
    run(volume, voxel_mm=(1, 2, 2)).save(tmp_path / "sizes.nii")
    with pytest.warns(AssumedGrid, match="on the grid of model 'tiny': 16 x 24 x 5, 2 mm, x to"):
        bare = run(volume)
    bare.save(tmp_path / "bare.nii", what="std")
    for name, wanted in (
        ("affine", affine),
        ("sizes", np.diag([1.0, 2.0, 2.0, 1.0])),
        ("bare", np.diag([2.0, 2.0, 2.0, 1.0])),
    ):
        found = nifti.read(tmp_path / f"{name}.nii")
        np.testing.assert_array_equal(found.affine_mm, wanted)
    np.testing.assert_array_equal(nifti.read(tmp_path / "affine.nii").data, given.image)
    np.testing.assert_array_equal(nifti.read(tmp_path / "bare.nii").data, bare.std)
    petrt.reconstruct(
        volume,
        tmp_path / "direct.nii",
        voxel_mm=(1, 2, 2),
        model=run.bundle,
        allow_activity_change=True,
        **OPTIONS,
    )
    assert (tmp_path / "direct.nii").read_bytes() == (tmp_path / "sizes.nii").read_bytes()


def test_only_a_bare_array_has_an_assumed_grid(run, low, recwarn):
    for volume, grid in (
        (low, {}),
        (nibabel.load(low), {}),
        (read(low), {}),
        (noisy_blob(SHAPE), {"voxel_mm": (2, 2, 2)}),
        (noisy_blob(SHAPE), {"affine": np.diag([2.0, 2.0, 2.0, 1.0])}),
    ):
        run(volume, **grid)
    assert [each for each in recwarn if each.category is AssumedGrid] == []


def test_the_page_knows_its_input(result, tmp_path):
    result.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert result.origin.input_sha256() in page
    assert "not for diagnostic use" in page
    assert "low.nii" not in page


def test_what_cannot_be_saved_is_refused_and_nothing_is_written(result, run, tmp_path, low):
    result.save(tmp_path / "out.nii")
    before = (tmp_path / "out.nii").read_bytes()
    single = Reconstructor(run.bundle, preset="coarse")(low)
    refused: list[tuple[Reconstruction, Any, dict[str, Any], str]] = [
        (result, tmp_path / "out.nii", {}, "exists; overwrite=True replaces it"),
        (result, low, {"overwrite": True}, "also an input"),
        (result, tmp_path / "out.mha", {}, "not a NIfTI output"),
        (result, tmp_path / "x.nii", {"what": "images"}, "what is 'images'; choose one of image"),
        (result, tmp_path / "series", {"out_format": "dicom"}, "not DICOM"),
        (result, tmp_path / "view.png", {"what": "std"}, "show all of a result"),
        (result, tmp_path / "view.html", {"compress": "rle"}, "show all of a result"),
        (result, tmp_path / "x.nii", {"overwrite": "yes"}, "overwrite is 'yes'"),
        (result, 3, {}, "out is a int"),
        (single, tmp_path / "x.nii", {"what": "std"}, "no std"),
    ]
    for each, path, options, says in refused:
        with pytest.raises(UsageError, match=re.escape(says)):
            each.save(path, **options)
    assert contents(tmp_path) == {"out.nii": before}
    result.save(tmp_path / "out.nii", what="coarse", overwrite=True)
    assert (tmp_path / "out.nii").read_bytes() != before


def test_the_key_needs_the_input(run, tmp_path):
    path = write_nifti(tmp_path / "low.nii", noisy_blob(SHAPE))
    result = run(path)
    path.unlink()
    with pytest.raises(InputError, match=r"low\.nii"):
        result.save(tmp_path / "out.nii")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "array", "series"])
def test_a_result_crosses_processes(run, low, tmp_path, kind):
    volume: Any = {"file": low, "array": noisy_blob(SHAPE)}.get(kind)
    if kind == "series":
        write_series(tmp_path / "series", shape=(12, 11, 6))
        volume = tmp_path / "series"
    result = run(volume)
    again = pickle.loads(pickle.dumps(result))
    assert repr(again) == repr(result)
    result.save(tmp_path / "a.nii")
    again.save(tmp_path / "b.nii")
    assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()


def test_torch_arrays_are_saved(run, tmp_path):
    torch = pytest.importorskip("torch")
    result = run(torch.from_numpy(noisy_blob(SHAPE)), voxel_mm=(2, 2, 2))
    result.save(tmp_path / "out.nii")
    np.testing.assert_array_equal(nifti.read(tmp_path / "out.nii").data, result.image.numpy())
    assert "data:image/png" in result._repr_html_()


@pytest.fixture
def window(monkeypatch):
    """A backend of matplotlib that keeps what it is to show."""
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    shown: list[Any] = []
    module: Any = types.ModuleType("petrt_window")
    module.FigureCanvas = FigureCanvasAgg
    module.show = lambda *_, **__: shown.extend(map(pyplot.figure, pyplot.get_fignums()))
    monkeypatch.setitem(sys.modules, "petrt_window", module)
    before = matplotlib.get_backend()
    pyplot.switch_backend("module://petrt_window")
    yield shown
    pyplot.close("all")
    pyplot.switch_backend(before)


def test_a_window_shows_the_picture(result, window, tmp_path):
    result.show()
    result.save(tmp_path / "view.png")
    (figure,) = window
    (image,) = figure.axes[0].images
    from matplotlib import pyplot

    np.testing.assert_array_equal(image.get_array(), pyplot.imread(tmp_path / "view.png"))


def test_a_notebook_shows_the_picture_below_the_cell(result, monkeypatch, tmp_path):
    shown: list[bytes] = []
    package: Any = types.ModuleType("IPython")
    package.version_info = (9, 0)  # matplotlib asks
    package.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    screen: Any = types.ModuleType("IPython.display")
    screen.Image, screen.display = bytes, shown.append
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", screen)
    result.show()
    result.save(tmp_path / "view.png")
    assert shown == [(tmp_path / "view.png").read_bytes()]


def test_without_a_screen_it_says_so(result):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    with pytest.raises(DeviceError, match=r"no screen.*save\('view.png'\)"):
        result.show()
