"""Places and descriptions of derivatives, and which fields of the source they repeat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from petrt.errors import UsageError
from petrt.io.bids.derivatives import (
    FIELDS,
    check_place,
    coarse_sidecar,
    image_path,
    image_sidecar,
    sidecar_of,
    uncertainty_sidecar,
    write_description,
)
from petrt.io.bids.layout import Dataset, find, open_dataset
from tests.io.bids.data_set import METADATA, make, times, write_json

RECORD = {
    "label": "the model's label: simulated",
    "petrt": "9",
    "model": {"name": "m", "sha256": "0" * 64, "label": "simulated"},
    **{"dose_fraction": 0.05, "seed": 1, "samples": 8, "sampler": {"kind": "ddpm", "steps": 10}},
    "strength": 1.0,
    "std": {"calibrated": True, "factor": 2.0, "level": 0.9, "reason": "fitted on 4 subjects"},
    **{"frames": [{"activity_ratio": 1.0}], "warnings": ["odd"], "seconds": {"total": 1.0}},
}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(make(tmp_path / "raw"))


def test_names_keep_the_entities_of_the_source(dataset, tmp_path):
    file = find(dataset).files[1]
    image = image_path(file, tmp_path / "out", "denoised")
    name = "sub-02_ses-late_trc-FDG_run-1_desc-denoised_pet"
    assert image == tmp_path / "out/sub-02/ses-late/pet" / f"{name}.nii.gz"
    assert sidecar_of(image).name == f"{name}.json"


def test_sidecars_repeat_what_stays_valid_and_nothing_else(dataset):
    file = find(dataset).files[1]
    content = METADATA | times(2) | {"Unknown": 1, "SkullStripped": True, "ScanDate": "2020-01-01"}
    source = "bids:raw:sub-02/ses-late/pet/sub-02_ses-late_trc-FDG_run-1_pet.nii.gz"
    kept = {key for key in content if key in FIELDS}
    assert kept == {*METADATA, *times(2)} - {"ScaleFactor", "PatientName"}
    for sidecar in (image_sidecar, uncertainty_sidecar, coarse_sidecar):
        made = sidecar(file, content, RECORD, "abc")
        own = {"Description", "Sources", "SpatialReference", "SkullStripped", "petrt", "key"}
        assert made.keys() == kept | own
        assert {key: made[key] for key in kept} == {key: content[key] for key in kept}
        assert (made["Sources"], made["SpatialReference"]) == ([source], source)
        assert made["SkullStripped"] is True
        assert made["Description"].endswith("simulated; not for diagnostic use")
        assert made["key"] == "abc"
        drawn = () if sidecar is coarse_sidecar else ("samples", "sampler", "seed", "strength")
        for key in ("model", "petrt", "dose_fraction", *drawn):
            assert made["petrt"][key] == RECORD[key]
    assert image_sidecar(file, content, RECORD, "")["petrt"] == RECORD
    std = uncertainty_sidecar(file, METADATA, RECORD, "")
    assert "8 samples" in std["Description"]
    assert "calibrated: fitted on 4 subjects" in std["Description"]
    assert std["SkullStripped"] is False


def test_the_description_names_maker_and_source(dataset, tmp_path):
    dataset.description["DatasetDOI"] = "doi:10.1/x"
    out = tmp_path / "deep" / "a b"
    out.mkdir(parents=True)
    write_description(dataset, out)
    made = json.loads((out / "dataset_description.json").read_text())
    assert made["DatasetType"] == "derivative"
    assert made["GeneratedBy"][0]["Name"] == "petrt"
    assert made["DatasetLinks"] == {"raw": "../../raw"}
    assert made["SourceDatasets"] == [{"URL": "../../raw", "DOI": "doi:10.1/x"}]
    assert (made["License"], made["Authors"]) == ("CC0", ["A. Author"])
    assert "Not for diagnostic use" in (out / "README.md").read_text()
    check_place(dataset, out)


def test_a_readme_is_kept_and_an_old_description_renewed(dataset, tmp_path):
    write_description(dataset, tmp_path)
    path = tmp_path / "dataset_description.json"
    current, before = path.read_bytes(), path.stat()
    (tmp_path / "README.md").rename(tmp_path / "README")
    write_description(dataset, tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not (tmp_path / "README.md").exists()
    old = json.loads(current)
    old["GeneratedBy"][0]["Version"] = "0.0.1"
    write_json(path, old)
    write_description(dataset, tmp_path)
    assert path.read_bytes() == current


@pytest.mark.parametrize("where", ["raw", "raw/sub-01", "raw/out", "link", "raw/derivatives"])
def test_the_input_is_no_place_for_outputs(dataset, tmp_path, where):
    (tmp_path / "link").symlink_to("raw")
    with pytest.raises(UsageError, match=r"lies in the input data set; .*raw/derivatives/petrt"):
        check_place(dataset, tmp_path / where)


def test_places(dataset, tmp_path):
    check_place(dataset, tmp_path / "raw" / "derivatives" / "petrt")
    check_place(dataset, tmp_path / "new" / "folder")
    with pytest.raises(UsageError, match="no folder"):
        check_place(dataset, write_json(tmp_path / "file", {}))


@pytest.mark.parametrize(
    "there", [{}, {"GeneratedBy": [{"Name": "fmriprep"}]}, {"GeneratedBy": "petrt"}, [1]]
)
def test_a_data_set_of_another_program_is_no_place(dataset, tmp_path, there):
    write_json(tmp_path / "dataset_description.json", there)
    with pytest.raises(UsageError, match="a data set that petrt did not make"):
        check_place(dataset, tmp_path)


def test_results_of_another_data_set_are_no_place(dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write_description(open_dataset(make(tmp_path / "other")), out)
    with pytest.raises(UsageError, match="results of another data set"):
        check_place(dataset, out)
