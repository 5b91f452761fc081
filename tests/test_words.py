"""Public objects say what they are in one short line, whatever they hold."""

from __future__ import annotations

import numpy as np

from petrt.arrays import grid_text, mm_text
from petrt.data.simulate import simulate_subject
from petrt.evaluation.baselines import Baseline
from petrt.evaluation.uncertainty.regions import Region, RegionTable, Value
from petrt.io.source import read
from tests.helpers import write_nifti
from tests.suv.series_files import write as write_series
from tests.train.prepared import write as write_dataset


def region(label: int, name: str = "", reason: str = "", frame: int = 0) -> Region:
    value = Value(2.0) if reason else Value(2.0, 1.5, 2.25)
    return Region(frame, label, name, 8, 12.5, value, Value(3.0), Value(12345.6), reason)


def test_grids():
    assert grid_text((128, 96, 1, 2)) == "128 x 96 x 1 x 2"
    assert grid_text((4, 5, 6), np.array([2.0, 2.0, 2.0])) == "4 x 5 x 6, 2 mm"
    assert mm_text((2.08642, 2.08642, 3.0)) == "2.09 x 2.09 x 3 mm"


def test_models(tiny, dose_bundle):
    assert repr(tiny) == (
        f"Bundle('tiny', guidance + coarse + denoiser, 2 mm, sha256 {tiny.identity[:12]})"
    )


def test_volumes(tmp_path):
    path = write_nifti(tmp_path / "JANE_DOE.nii", np.ones((4, 5, 6), np.float32))
    assert repr(read(path)).startswith("Volume(4 x 5 x 6, 2 mm, ")
    assert "JANE" not in repr(read(path))
    write_series(tmp_path / "series", shape=(12, 11, 6))
    assert "DICOM PET series, 6 slices, units BQML" in repr(read(tmp_path / "series"))


def test_subjects_and_data_sets(tmp_path):
    person = simulate_subject(1, doses=["1/20", 100], shape=(16, 16, 2), voxel_mm=8)
    assert repr(person) == "Subject(16 x 16 x 2, 8 mm, Bq/ml, doses 1/20, 1/100)"
    dataset = write_dataset(tmp_path)
    assert repr(dataset).startswith(f"Dataset({len(dataset.ids)} subjects, ")
    name = dataset.ids[0]
    dose = dataset.doses(name)[0]
    pair = dataset.pair(name, f"1/{dose}")
    assert repr(pair).startswith(f"Pair({name}, dose 1/{dose}, [Z, H, W] ")
    np.testing.assert_array_equal(pair.low, dataset.pair(name, dose).low)
    np.testing.assert_array_equal(pair.low, dataset.pair(name, 1 / dose).low)


def test_filters():
    baseline = Baseline(np.ones((4, 5, 6), np.float32), 1.234, 28.44)
    assert repr(baseline) == "Baseline(4 x 5 x 6, parameter 1.23, PSNR 28.4 dB)"


def test_regions():
    table = RegionTable([region(1, "grey"), region(7, reason="a lone sample")], 0.9)
    assert repr(table) == "RegionTable(2 regions, 90 % intervals)"
    assert repr(table[0]) == (
        "Region(1 'grey', 12.5 ml, mean 2 (1.5 to 2.25), peak 3, max 1.235e+04)"
    )
    head, grey, other, why = str(table).splitlines()
    assert head.split() == ["frame", "label", "name", "ml", "mean", "peak", "max"]
    assert head.index("ml") == grey.index("12.5") == other.index("12.5")
    assert why == "no intervals: a lone sample"
    several = RegionTable([region(1, frame=n) for n in range(3)], 0.5)
    assert repr(several) == "RegionTable(3 regions of 3 frames, 50 % intervals)"


def test_a_notebook_shows_regions_as_text():
    shown = RegionTable([region(1, "<b>grey</b>\x1b[31m", "<i>why")], 0.9)._repr_html_()
    assert shown.count("<tr>") == 2
    assert "not for diagnostic use" in shown
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert "\x1b" not in shown
