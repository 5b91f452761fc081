"""petrt bids: participant and group level, on good and broken data sets."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petrt.cli.app import run
from petrt.cli.bids import one_label_each
from tests.helpers import contents
from tests.io.bids.data_set import FILES, FRAMES, make, sidecar, times, write_image, write_json
from tests.io.bids.validator import errors
from tests.models import Reconstructor

GUIDE = (Path(__file__).parents[2] / "docs" / "bids.md").read_text()
IMAGES = [name.replace("_pet", "_desc-denoised_pet") for name in FILES]


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make(Path("raw"))


@pytest.fixture
def petrt(tiny_bundle, capsys):
    """Run a command with the tiny model; returns the exit code and the lines of stderr and stdout."""

    def call(command: str, *more: object) -> tuple[int, list[str], list[str]]:
        extra = ["--model", str(tiny_bundle), "--threads", "1", "--steps", "1"]
        extra.append("--allow-activity-change")
        if " group" in command:
            extra = []
        code = run([*command.split(), *map(str, more), *extra])
        printed = capsys.readouterr()
        return code, printed.err.splitlines(), printed.out.splitlines()

    return call


def images(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*denoised_pet.nii.gz"))


def test_both_levels_give_a_valid_data_set(petrt, raw, tiny_bundle):
    before = contents(raw)
    code, lines, _ = petrt("bids raw out participant --std --samples 2")
    assert code == 0, lines
    assert errors(Path("out")) == []
    assert contents(raw) == before
    code, lines, _ = petrt("bids raw out group")
    assert code == 0, lines
    assert lines == ["petrt: group_pet.tsv: 3 images, not for diagnostic use"]
    assert images(Path("out")) == IMAGES
    assert errors(Path("out")) == []
    assert not any(b"Smith" in each for each in contents(Path("out")).values())

    usual = Reconstructor(tiny_bundle, steps=1, threads=1, samples=2)
    for source, image in zip(FILES, IMAGES, strict=True):
        expected, found = usual(raw / source), nibabel.load(Path("out") / image)
        np.testing.assert_array_equal(found.get_fdata(), expected.image.get_fdata())
        np.testing.assert_array_equal(found.affine, nibabel.load(raw / source).affine)
        std = Path("out") / image.replace("denoised", "uncertainty")
        np.testing.assert_array_equal(nibabel.load(std).get_fdata(), expected.std.get_fdata())
        record = json.loads(sidecar(Path("out") / image).read_text())
        assert record["petrt"]["frames"] == expected.stats["frames"]
        assert record["petrt"]["model"] == expected.stats["model"]


def test_strength_and_the_coarse_prediction(petrt, raw):
    code, lines, _ = petrt(
        "bids raw out participant --coarse --strength 0.25 --participant-label 01"
    )
    assert code == 0, lines
    image = Path("out") / IMAGES[0]
    coarse = Path("out") / IMAGES[0].replace("denoised", "coarse")
    assert nibabel.load(coarse).shape == nibabel.load(image).shape
    told = json.loads(sidecar(image).read_text())
    assert told["petrt"]["strength"] == 0.25
    assert "strength 0.25" in told["Description"]
    first = json.loads(sidecar(coarse).read_text())
    assert first["Description"].startswith("Coarse prediction of the standard-dose PET image")
    assert first["key"] == told["key"]
    assert "strength" not in first["petrt"]
    assert errors(Path("out")) == []
    # Done already; without one of the files it is done again.
    before = contents(Path("out"))
    sidecar(coarse).unlink()
    assert petrt("bids raw out participant --coarse --strength 0.25 --participant-label 01")[0] == 0
    assert contents(Path("out")).keys() == before.keys()
    assert petrt("bids raw out group")[0] == 0
    assert "0.25" in Path("out/group_pet.tsv").read_text()


def test_the_table_of_a_cohort(petrt, raw):
    assert petrt("bids raw out participant")[0] == 0
    assert petrt("bids raw out group")[0] == 0
    table = Path("out/group_pet.tsv").read_text().splitlines()
    rows = [*csv.DictReader(table, delimiter="\t")]
    assert [row["filename"] for row in rows] == IMAGES
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02", "sub-02"]
    assert [row["session_id"] for row in rows] == ["n/a", "ses-late", "ses-test"]
    assert [int(row["frames"]) for row in rows] == [*FRAMES]
    for row, image in zip(rows, IMAGES, strict=True):
        record = json.loads(sidecar(Path("out") / image).read_text())["petrt"]
        ratios = [frame["activity_ratio"] for frame in record["frames"]]
        shifts = [frame["suvmax_shift_percent"] for frame in record["frames"]]
        farthest = max(ratios, key=lambda each: abs(each - 1))
        assert float(row["activity_ratio"]) == pytest.approx(farthest, abs=1e-5)
        assert float(row["maximum_shift"]) == pytest.approx(max(shifts, key=abs), abs=1e-2)
        assert int(row["warnings"]) == len(record["warnings"]) > 0
        assert float(row["seconds"]) == pytest.approx(record["seconds"]["total"], abs=0.01)
        assert row["model_sha256"] == record["model"]["sha256"]
        assert row["dose_fraction"] == "n/a"
    described = json.loads(Path("out/group_pet.json").read_text())
    assert [*described] == [*rows[0]]
    first = contents(Path("out"))
    assert petrt("bids raw out group")[0] == 0
    assert contents(Path("out")) == first


def test_a_table_needs_sidecars_by_petrt(petrt, raw):
    code, lines, _ = petrt("bids raw out group")
    assert (code, len(lines)) == (3, 1)
    assert "no image by petrt in this folder; run the level participant first" in lines[0]
    assert petrt("bids raw out participant --participant-label 01")[0] == 0
    path = sidecar(Path("out") / IMAGES[0])
    whole = json.loads(path.read_text())
    for wrong in ({}, {"petrt": "9"}, whole | {"petrt": {"frames": 3}}):
        write_json(path, wrong)
        code, lines, _ = petrt("bids raw out group")
        assert (code, "not a sidecar by petrt" in lines[-1]) == (3, True), lines
    write_json(path, whole)
    Path("out/.bidsignore").write_text("mine.txt")
    assert petrt("bids raw out group")[0] == 0
    assert Path("out/.bidsignore").read_text() == "mine.txt\ngroup_pet.*\n"
    (Path("out") / IMAGES[0]).unlink()
    assert petrt("bids raw out group")[0] == 3


def test_what_is_done_is_left_out_and_what_changed_is_not(petrt, raw):
    command = "bids raw out participant --std --samples 2"
    assert petrt(command)[0] == 0
    first = contents(Path("out"))
    assert petrt(command)[1][-1] == "petrt: 3 of 3 cases are done already"
    assert contents(Path("out")) == first
    sidecar(Path("out") / IMAGES[1].replace("denoised", "uncertainty")).unlink()
    code, lines, _ = petrt(command)
    assert (code, "petrt: 2 of 3 cases are done already" in lines) == (0, True)
    assert contents(Path("out")).keys() == first.keys()
    # Metadata count, too: the sidecar of the image repeats them.
    write_json(sidecar(raw / FILES[0]), times(1) | {"BodyPart": "HEAD"})
    code, lines, _ = petrt(command)
    assert (code, "made from another input or with other options" in lines[-1]) == (2, True)
    assert "sub-01" in lines[-1]
    code, lines, _ = petrt(command + " --resume")
    assert (code, "petrt: 2 of 3 cases are done already" in lines) == (0, True)
    assert json.loads(sidecar(Path("out") / IMAGES[0]).read_text())["BodyPart"] == "HEAD"
    assert petrt(command + " --overwrite")[0] == 0


def test_wrong_files_fail_and_the_others_go_on(petrt, raw):
    write_json(sidecar(raw / FILES[1]), times(3))
    (raw / "sub-03" / "pet").mkdir(parents=True)
    write_image(raw / "sub-03" / "pet" / "sub-03_trc-PIB_pet.nii.gz", 1)
    (raw / "sub-01" / "pet" / "sub-01_desc-x_pet.nii.gz").write_bytes(b"")
    (raw / "sub-01" / "pet" / "sub-01_trc-FDG_run-2_pet.nii.gz").write_bytes(b"no image")
    before = contents(raw)
    code, lines, _ = petrt("bids raw out participant")
    assert code == 5, lines
    failed = [line.removeprefix("petrt: failed: ") for line in lines if "failed: " in line]
    assert len(failed) == 4
    said = "\n".join(failed)
    assert "sub-01_desc-x_pet.nii.gz: not a name of a PET file" in said
    assert "sub-01_trc-FDG_run-2_pet.nii.gz: not gzip/NIfTI" in said
    assert "run-1_pet.nii.gz: its .json file has 3 FrameTimesStart, the volume 2 frames" in said
    assert "sub-03_trc-PIB_pet.nii.gz: no .json file describes it" in said
    assert lines[-1] == "petrt: error: 4 of 6 cases failed, the others are done; see above"
    assert images(Path("out")) == [IMAGES[0], IMAGES[2]]
    assert not Path("out/sub-03").exists()
    assert contents(raw) == before
    assert errors(Path("out")) == []


def test_the_last_one_left_fails_as_one_of_several(petrt, raw):
    sidecar(raw / FILES[1]).unlink()
    for _ in range(2):
        code, lines, _ = petrt("bids raw out participant")
        assert code == 5
        assert any("failed: sub-02_ses-late_trc-FDG_run-1_pet.nii.gz: " in line for line in lines)
    code, lines, _ = petrt("bids raw out participant --session-label late")
    assert code == 3
    assert "run-1_pet.nii.gz: its .json file has no FrameTimesStart in seconds" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            "raw out participant --participant-label 03",
            3,
            "the data set has no sub-03; it has sub-01",
        ),
        ("raw out participant --participant-label ../x", 2, "'x' is no label of BIDS"),
        ("raw out participant --session-label x", 3, "no ses-x; it has ses-late, ses-test"),
        ("raw out participants", 2, "'participants' is not one of 'participant', 'group'"),
        ("raw/sub-01 out participant", 3, "sub-01: no BIDS data set"),
        ("absent out participant", 3, "absent: not a folder"),
        ("raw raw participant", 2, "the output folder lies in the input data set"),
        ("raw out participant --std --samples 1", 2, "--std needs at least two samples"),
        ("raw out participant --num-parts 2 --part-id 2", 2, "must be below --num-parts 2"),
        ("raw out participant --dose 2", 2, "dose 2 is not in"),
        ("raw out group --participant-label 01", 2, "labels select at level participant only"),
    ],
)
def test_refusals_write_nothing(petrt, raw, arguments, code, says):
    before = contents(Path("."))
    found, lines, _ = petrt(f"bids {arguments}")
    assert (found, says in lines[-1]) == (code, True), lines
    assert contents(Path(".")) == before
    assert not Path("out").exists()


def test_labels_as_bids_apps_take_them(petrt, raw):
    write_image(raw / "sub-03" / "pet" / "sub-03_trc-FDG_pet.nii.gz", 1)
    write_json(raw / "sub-03" / "pet" / "sub-03_trc-FDG_pet.json", times(1))
    assert petrt("bids raw out participant --participant_label sub-01 03 --threads 1")[0] == 0
    assert [name[:6] for name in images(Path("out"))] == ["sub-01", "sub-03"]
    level = ["bids", "a", "b", "participant"]
    assert one_label_each([*level, "--participant-label", "1", "2", "--std"]) == [
        *level,
        *("--participant-label", "1", "--participant-label", "2", "--std"),
    ]
    before = ["--participant-label", "1", *level[1:]]  # what follows the label are folders
    assert one_label_each(before) == before


def test_parts_share_the_work_and_tell_of_wrong_names_once(petrt, raw):
    write_image(raw / "sub-01" / "pet" / "sub-01_desc-x_pet.nii.gz", 1)
    codes = [
        petrt(f"bids raw out participant --num-parts 2 --part-id {part}")[0] for part in (0, 1)
    ]
    assert codes == [5, 0]
    assert images(Path("out")) == IMAGES


def test_a_dry_run_checks_frames_and_writes_nothing(petrt, raw):
    write_json(sidecar(raw / FILES[1]), times(3))
    before = contents(Path("."))
    code, lines, told = petrt("bids raw out participant --dry-run")
    assert code == 5
    assert contents(Path(".")) == before
    assert "would fail: sub-02_ses-late_trc-FDG_run-1_pet.nii.gz: its .json file has 3" in told[1]
    assert told[-1].startswith("2 of 3 to do: about ")
    assert lines[-1] == "petrt: error: 1 of 3 cases would fail; see above"


def test_reconstruct_recognises_a_data_set(petrt, raw):
    assert petrt("reconstruct raw out")[0] == 0
    assert petrt("bids raw out participant")[1][-1] == "petrt: 3 of 3 cases are done already"
    code, lines, _ = petrt("reconstruct raw other --json records")
    assert (code, "outputs have names of BIDS" in lines[-1]) == (2, True)
    assert not Path("other").exists()


def test_outputs_in_the_derivatives_of_the_input(petrt, raw):
    assert petrt("bids raw raw/derivatives/petrt participant")[0] == 0
    assert images(raw / "derivatives" / "petrt") == IMAGES
    assert petrt("bids raw raw/derivatives/petrt participant")[0] == 0
    assert errors(raw) == []
    assert errors(raw / "derivatives" / "petrt") == []


def test_a_write_that_fails_leaves_nothing_of_its_case(petrt, raw, monkeypatch):
    from petrt.io.bids import derivatives

    whole = derivatives.uncertainty_sidecar

    def full(file, *others):
        if "late" in file.within:
            raise OSError(28, "No space left on device")
        return whole(file, *others)

    command = "bids raw out participant --std --samples 2"
    with monkeypatch.context() as disk:
        disk.setattr(derivatives, "uncertainty_sidecar", full)
        assert petrt(command)[0] == 5
    assert [*Path("out/sub-02/ses-late/pet").iterdir()] == []
    assert petrt(command)[0] == 0
    assert images(Path("out")) == IMAGES


def test_the_commands_of_the_guide_run(tmp_path, monkeypatch, capsys):
    """With the demo model, on volumes that it was not trained on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("petrt.inference.judgement.ALLOWED_RATIO", (0.0, math.inf))
    make(Path("study"))
    lines = re.findall(r"^    petrt (.*?)(?:  +#.*)?$", GUIDE, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        assert run([*shlex.split(line), "--quiet"]) == 0, (line, capsys.readouterr().err)
    assert images(Path("results")) == images(Path("study/derivatives/petrt")) == IMAGES
    assert Path("results/group_pet.tsv").is_file()
