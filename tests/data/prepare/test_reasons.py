"""What cannot be read says why, in words that can be followed; the options that the words name work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from petrt.cli.app import run
from petrt.data.dataset import open_dataset
from petrt.data.prepare import prepare
from petrt.data.simulate import write_dataset
from petrt.errors import InputError
from tests.data.prepare.scans import AFFINE, challenge, save, scan
from tests.helpers import contents
from tests.io.dicom.dicom_files import energy_window, write_series


def series(folder: Path, subjects: int = 3, **changes) -> Path:
    """Subjects of DICOM series at full and 1/10 dose; a change may be a function of the dose."""
    for k in range(subjects):
        for dose, name in ((1, "NORMAL"), (10, "D10")):
            fields = {key: each(dose) if callable(each) else each for key, each in changes.items()}
            write_series(folder / f"DOE {k}" / name, scan(k, dose), AFFINE, **fields)
    return folder


def holed(folder: Path) -> Path:
    challenge(folder, 3, doses=(20,))
    for path in folder.rglob("*.nii"):
        k, dose = int(path.parts[-3][5]), 1 if "Full" in path.parts[-2] else 20
        data = scan(k, dose)
        data[3, 4, 5] = np.nan
        save(path, data)
    return folder


def said(source: Path, tmp_path: Path, capsys, *options: str) -> tuple[int, str]:
    before = contents(source)
    code = run(["prepare", str(source), "--out", str(tmp_path / "set"), *options])
    assert contents(source) == before
    text = capsys.readouterr().err
    assert "DOE" not in text
    return code, text


@pytest.mark.parametrize(
    ("changes", "reason", "hint"),
    [
        ({"Units": "1CM"}, "Units is 1CM", "--force-units uses its values unchanged"),
        ({"Units": None}, "Units is absent", "--force-units uses its values unchanged"),
        ({"EnergyWindowRangeSequence": energy_window(126, 154)}, "so SPECT", "give a PET series"),
    ],
)
def test_series_that_cannot_be_read_say_why(tmp_path, capsys, changes, reason, hint):
    code, text = said(series(tmp_path / "s", **changes), tmp_path, capsys)
    assert code == 3
    assert text.startswith("petrt: error: no full-dose volume can be read: sub-0000: ")
    assert text.count("\n") == 1
    assert reason in text
    assert hint in text
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_units_are_forced_if_told(tmp_path, capsys):
    source = series(tmp_path / "s", Units="PROPCNTS")
    code, text = said(source, tmp_path, capsys, "--force-units")
    assert code == 0
    assert "Units is PROPCNTS, which is not quantitative; values are used unchanged" in text
    assert open_dataset(tmp_path / "set").doses("sub-0000") == (10,)


def test_nonfinite_voxels(tmp_path, capsys):
    source = holed(tmp_path / "s")
    code, text = said(source, tmp_path, capsys)
    assert code == 3
    assert "no full-dose volume can be read: sub-0000: 1 of 5544 voxels are NaN" in text
    assert "--nonfinite zero replaces them by 0" in text
    assert said(source, tmp_path, capsys, "--nonfinite", "zero")[0] == 0
    assert said(source, tmp_path, capsys, "--overwrite", "--nonfinite", "no")[0] == 2


def test_large_volumes(tmp_path, capsys):
    source = challenge(tmp_path / "s", 3)
    code, text = said(source, tmp_path, capsys, "--max-voxels", "5543")
    assert code == 3
    assert "the limit is 5543; --max-voxels 5544 lets it in" in text
    assert said(source, tmp_path, capsys, "--max-voxels", "5544")[0] == 0


def test_several_series_in_a_folder(tmp_path, capsys):
    source = series(tmp_path / "s", 1)
    write_series(source / "DOE 0" / "NORMAL" / "b", scan(0), AFFINE, SeriesInstanceUID="1.2.7")
    code, text = said(source, tmp_path, capsys)
    assert code == 3
    assert "2 DICOM PET series: 1.2.3.4 (PT, 14 files), 1.2.7 (PT, 14 files)" in text
    assert "--series 1.2.3.4 chooses the first" in text
    assert "--all-series" not in text
    assert said(source, tmp_path, capsys, "--series", "1.2.3.4")[0] == 0


def test_a_ct_beside_a_pet_series_is_left_out(tmp_path, capsys):
    source = series(tmp_path / "s", 3)
    ct = {"SeriesInstanceUID": "1.2.7", "Modality": "CT"}
    write_series(source / "DOE 0" / "NORMAL" / "b", scan(0), AFFINE, **ct)
    code, text = said(source, tmp_path, capsys, "--verbose")
    assert code == 0
    assert "other series are left out: 1.2.7 (CT, 14 files)" in text


def test_reasons_are_quoted_once_each_and_not_all(tmp_path, capsys):
    units = ("1CM", "PROPCPS", "PERCENT", "PROPCNTS", "1CM")
    for k, each in enumerate(units):
        for dose, name in ((1, "NORMAL"), (10, "D10")):
            write_series(tmp_path / "s" / f"case {k}" / name, scan(k, dose), AFFINE, Units=each)
    code, text = said(tmp_path / "s", tmp_path, capsys)
    assert code == 3
    assert "sub-0000: series 1.2.3.4: DICOM field Units is 1CM" in text
    assert "sub-0002" in text
    assert "and 1 more" in text
    assert text.count("--force-units") == 1


def test_frames_that_an_anonymiser_drew_anew(tmp_path, capsys):
    source = series(tmp_path / "s", FrameOfReferenceUID=lambda dose: f"1.2.9.{dose}")
    code, text = said(source, tmp_path, capsys)
    assert code == 3
    assert "another frame of reference than the full dose's; --any-frame takes them" in text
    assert said(source, tmp_path, capsys, "--any-frame")[0] == 0


def test_in_python_the_words_are_arguments(tmp_path):
    with pytest.raises(InputError, match=r"force_units=True uses its values unchanged"):
        prepare([series(tmp_path / "s", 1, Units="1CM")], tmp_path / "set")


def test_a_simulated_volume_that_has_changed_is_refused(tmp_path, capsys):
    source = tmp_path / "simulated"
    write_dataset(source, (0, 1), 1, (20,), shape=(32, 32, 12), voxel_mm=6.0)
    other = (source / "sub-0001_rec-full_pet.nii.gz").read_bytes()
    (source / "sub-0000_rec-full_pet.nii.gz").write_bytes(other)
    code, text = said(source, tmp_path, capsys)
    assert code == 5
    changed = (
        "the content of sub-0000_rec-full_pet.nii.gz has changed since petrt simulate wrote it"
    )
    assert changed in text
    index = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert list(index["subjects"]) == ["sub-0001"]
