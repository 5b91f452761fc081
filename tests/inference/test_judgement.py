"""A run is judged by its own numbers: every frame, with warnings, and a refusal beyond all doubt."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import petrt
from petrt.errors import ActivityChanged, InputError
from petrt.inference.device import Results
from petrt.inference.judgement import figures, refuse_change, warnings
from petrt.inference.reconstructor import Reconstructor
from petrt.inference.run_record import run_label
from tests.models import noisy_blob

SHAPE = (32, 32, 5)


def frame(ratio: float | None = 1.0, shift: float | None = 0.0, negative: float = 0.0) -> dict:
    return {"activity_ratio": ratio, "suvmax_shift_percent": shift, "negative_fraction": negative}


EMPTY = {**frame(None, None), "unchanged": True, "empty": True}


@pytest.mark.parametrize("ratio", [0.98, 1.0, 1.02])
@pytest.mark.parametrize("shift", [-15.0, 0.0, 15.0])
@pytest.mark.parametrize("negative", [0.0, 0.01])
def test_usual_numbers_are_not_mentioned(ratio, shift, negative):
    assert warnings([frame(ratio, shift, negative)]) == []
    refuse_change("x", frame(ratio, shift, negative), 0, 1)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (frame(1.022), "activity ratio 1.0220, beyond 0.98 to 1.02"),
        (frame(0.9799), "activity ratio 0.9799, beyond 0.98 to 1.02"),
        (frame(None), "activity ratio undefined, beyond 0.98 to 1.02"),
        (frame(1.0, -84.0), "change of the maximum -84.0 %, more than 15 %"),
        (frame(1.0, 15.1), "change of the maximum +15.1 %, more than 15 %"),
        (frame(1.0, 0.0, 0.73), "negative voxels 73.0 %, more than 1 %"),
        (EMPTY, "a constant or empty volume is returned unchanged"),
        (
            {**EMPTY, "empty": False},
            "a volume with too little above 0 for a scale is returned unchanged",
        ),
    ],
)
def test_an_unusual_number_is_one_warning(numbers, said):
    assert warnings([numbers]) == [said]


def test_a_series_tells_how_many_frames_and_the_farthest():
    series = [EMPTY, frame(1.01), frame(0.95, -99.7), frame(1.03, 20.0, 0.02)]
    assert warnings(series) == [
        "1 of 4 frames empty or constant: returned unchanged",
        "activity ratio beyond 0.98 to 1.02 in 2 of 4 frames, farthest 0.9500 in frame 3",
        "change of the maximum more than 15 % in 2 of 4 frames, farthest -99.7 % in frame 3",
        "negative voxels more than 1 % in 1 of 4 frames, farthest 2.0 % in frame 4",
    ]
    assert figures(series) == (
        "activity ratio 0.9500 to 1.0300 in 3 of 4 frames, maximum -99.7 % to +20.0 % in 3 of 4 frames"
    )


@pytest.mark.parametrize("ratio", [0.90, 1.10])
def test_up_to_ten_percent_is_allowed(ratio):
    refuse_change("x", frame(ratio), 0, 1)


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.67, "0.6700"), (3.78, "3.7800"), (None, "undefined")]
)
def test_beyond_both_numbers_are_named(ratio, text):
    with pytest.raises(ActivityChanged) as caught:
        refuse_change("pet.nii", frame(ratio, -84.0, 0.73), 2, 45)
    said = str(caught.value)
    assert said.startswith(
        f"pet.nii, frame 3 of 45: activity ratio {text} (0.90 to 1.10 is allowed)"
    )
    assert "maximum -84.0 %" in said
    assert "73.0 % of its voxels are negative" in said
    assert "allow_activity_change=True" in said
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 3


def test_a_frame_without_activity_is_not_refused():
    refuse_change("x", EMPTY, 0, 1)


class Stand:
    """Stands in for the pipeline: networks that multiply by ``gain``, but never above ``most``."""

    def __init__(self, gain: float = 1.0, most: float = np.inf) -> None:
        self.device, self.gain, self.most, self.runs = self, gain, most, 0

    def run(self, grid: np.ndarray, *_: Any, **__: Any) -> Results:
        self.runs += 1
        image = np.clip(grid * np.float32(self.gain), None, self.most)
        return Results(image, np.zeros_like(grid), image.copy())

    def check_process(self) -> None:
        pass

    def ids(self, depth: int) -> int:
        return depth

    def times(self, *seconds: Any) -> dict[str, float]:
        return {"total": seconds[-1]}


@pytest.fixture
def model(tiny_bundle) -> Callable[..., Reconstructor]:
    def made(stand: Stand, **options: Any) -> Reconstructor:
        run = Reconstructor(tiny_bundle, threads=1, **options)
        run._frames.pipeline = stand  # type: ignore[assignment]
        return run

    return made


def test_a_good_run_has_no_warnings(model):
    stats = model(Stand(1.005))(noisy_blob(SHAPE)).stats
    assert stats["warnings"] == []
    assert stats["frames"][0]["activity_ratio"] == pytest.approx(1.005)


def test_a_spot_that_is_lost_is_noticed(model):
    volume = noisy_blob(SHAPE)
    volume[3:5, 3:5, 1:3] *= 100
    with pytest.raises(
        ActivityChanged, match=r"array: activity ratio 0\.\d+ .*, maximum -\d\d\.\d %"
    ):
        model(Stand(most=2.0))(volume)
    result = model(Stand(most=2.0), allow_activity_change=True)(volume)
    assert len(result.stats["warnings"]) == 2
    assert result.image.max() < volume.max() / 2


def test_two_percent_is_remarked(model):
    assert model(Stand(1.022))(noisy_blob(SHAPE)).stats["warnings"] == [
        "activity ratio 1.0220, beyond 0.98 to 1.02"
    ]


def test_the_flag_of_a_call_goes_before_that_of_the_reconstructor(model):
    volume = noisy_blob(SHAPE)
    strict, lenient = model(Stand(3.78)), model(Stand(3.78), allow_activity_change=True)
    assert strict(volume, allow_activity_change=True).stats["warnings"]
    with pytest.raises(ActivityChanged, match=r"3\.78"):
        lenient(volume, allow_activity_change=False)


def test_a_shifted_volume_is_told_of_and_refused(model):
    volume = noisy_blob(SHAPE) + np.float32(500)
    volume[:14] -= np.float32(2000)
    with pytest.raises(ActivityChanged, match=r"undefined .*\d\d\.\d % of its voxels are negative"):
        model(Stand(1.2))(volume)
    said = model(Stand(1.2))(volume, allow_activity_change=True).stats["warnings"]
    assert any(re.fullmatch(r"negative voxels \d\d\.\d %, more than 1 %", each) for each in said)
    assert "activity ratio undefined, beyond 0.98 to 1.02" in said


def test_a_volume_that_has_no_scale_is_not_called_empty(model):
    volume = np.full(SHAPE, -100, np.float32)
    volume[4, 4, 2] = 5
    result = model(Stand())(volume)
    np.testing.assert_array_equal(result.image, volume)
    assert any("too little above 0" in each for each in result.stats["warnings"])
    assert any(each.startswith("negative voxels 100.0 %") for each in result.stats["warnings"])


def test_every_frame_of_a_series_is_judged(model):
    blob = noisy_blob(SHAPE)
    low = blob.copy()
    low[0, 0, 0] = -1
    series = np.stack([np.zeros_like(blob), blob, low], axis=-1)
    stats = model(Stand(0.97))(series).stats
    assert stats["warnings"] == [
        "1 of 3 frames empty or constant: returned unchanged",
        "activity ratio beyond 0.98 to 1.02 in 2 of 3 frames, farthest 0.9700 in frame 2",
    ]
    fractions = [each["negative_fraction"] for each in stats["frames"]]
    assert fractions == [0, 0, 1 / blob.size]


def test_a_series_stops_at_the_frame_that_is_refused(model):
    blob = noisy_blob(SHAPE)
    stand = Stand(0.5)
    with pytest.raises(ActivityChanged, match=r"frame 2 of 4: activity ratio 0\.5000"):
        model(stand)(np.stack([np.zeros_like(blob), blob, blob, blob], axis=-1))
    assert stand.runs == 1


def test_nothing_is_written_of_an_image_that_is_refused(tiny_bundle, tmp_path):
    """The tiny networks are not trained: they lose most of the activity."""
    source, out = tmp_path / "low.nii", tmp_path / "out.nii"
    nibabel.Nifti1Image(noisy_blob(SHAPE), np.diag([2.0, 2, 2, 1])).to_filename(source)
    options = {"model": tiny_bundle, "steps": 1, "threads": 1}
    with pytest.raises(ActivityChanged, match=r"low\.nii: activity ratio"):
        petrt.reconstruct(source, out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["low.nii"]
    petrt.reconstruct(source, out, allow_activity_change=True, **options)
    assert out.exists()


@pytest.mark.parametrize(
    ("own", "label"),
    [
        ("not for diagnostic use", "not for diagnostic use"),
        (
            "simulated data; not for diagnostic use",
            "the model's label: simulated data; not for diagnostic use",
        ),
        ("from phantoms", "not for diagnostic use; the model's label: from phantoms"),
    ],
)
def test_the_label_of_the_model_is_told_as_the_models(own, label):
    assert run_label(own) == label


@pytest.mark.filterwarnings("ignore::petrt.errors.DomainWarning")
def test_the_record_of_the_demo_model_says_whose_label_it_is():
    run = Reconstructor("demo", threads=1)
    run._frames.pipeline = Stand()  # type: ignore[assignment]
    stats = run(noisy_blob(SHAPE)).stats
    assert stats["label"].startswith("the model's label: simulated data")
    assert stats["model"]["label"] == "simulated data; not for diagnostic use"


def test_threads_that_share_a_reconstructor_each_tell_their_own_time(tiny_bundle):
    """The short volume ends while the long one runs: neither tells the other's seconds."""
    run = Reconstructor(tiny_bundle, samples=2, threads=1, allow_activity_change=True)
    long, short = noisy_blob((48, 48, 16)), noisy_blob((16, 16, 2))
    run(short)
    alone = run(long).stats["seconds"]
    meanwhile = threading.Event()

    def often() -> list[dict[str, Any]]:
        found = []
        while not meanwhile.is_set():
            found.append(run(short).stats)
        return found

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(often)
        together = run(long).stats
        meanwhile.set()
        found = others.result()
    assert found
    for stats in [together, *found]:
        seconds = stats["seconds"]
        assert set(seconds) == set(alone)
        assert all(value >= 0 for value in seconds.values())
        parts = sum(value for name, value in seconds.items() if name != "total")
        assert parts == pytest.approx(seconds["total"], rel=0.02, abs=2e-3)
        assert seconds["denoiser"] > 0
    least = min(stats["seconds"]["denoiser"] for stats in found)
    assert together["seconds"]["denoiser"] > 5 * least


def test_the_command_names_its_option_and_writes_nothing(tiny_bundle, tmp_path: Path, capsys):
    from petrt.cli.app import run

    source, out, record = (tmp_path / name for name in ("low.nii", "out.nii", "run.json"))
    nibabel.Nifti1Image(noisy_blob(SHAPE), np.diag([2.0, 2, 2, 1])).to_filename(source)
    arguments = ["reconstruct", str(source), str(out), "--json", str(record), "--threads", "1"]
    arguments += ["--model", str(tiny_bundle), "--steps", "1"]
    assert run(arguments) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert "activity ratio 0." in error
    assert "maximum -" in error
    assert "--allow-activity-change" in error
    assert [path.name for path in tmp_path.iterdir()] == ["low.nii"]
    assert run([*arguments, "--allow-activity-change"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum("warning: " in line for line in lines) >= 2
    assert "activity ratio 0." in lines[-1]
    assert ", maximum -" in lines[-1]
    assert out.exists()
    assert record.exists()
