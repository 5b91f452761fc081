"""The configurations of Table 2's rows are valid and differ only in what their row adds."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.quality.rows import CONFIGS, DOSE, ROWS, describe
from benchmarks.quality.sections import weights_key
from petrt.model.bundle import load_bundle
from petrt.nets.count import count
from petrt.train.config import TrainConfig, load_config


def config(name: str) -> TrainConfig:
    return load_config(CONFIGS / f"{name}.toml")


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, each in value.items() for k, v in flat(each, f"{path}.{key}").items()}


def changed(first: str, second: str) -> set[str]:
    """Keys in which two rows differ, apart from their names; a network that one lacks is one key."""
    a, b = (flat(config(name).model_dump()) for name in (first, second))
    keys = {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
    keys -= {".model.name", ".model.description"}
    for network in (".model.network.coarse", ".model.network.denoiser"):
        if any(key.startswith(f"{network}.") for key in keys):
            keys = {key for key in keys if not key.startswith(network)} | {network}
    return keys


def test_there_is_a_configuration_for_each_row():
    assert {path.stem for path in CONFIGS.glob("*.toml")} == set(ROWS)
    for name in ROWS:
        assert config(name).model.name == f"row-{name}"
        assert "not for diagnostic use" in config(name).model.label
        assert config(name).data.doses == {DOSE: 1.0}


@pytest.mark.parametrize(
    ("first", "second", "keys"),
    [
        ("b", "c", {".model.network.denoiser", ".coarse_steps"}),
        ("c", "d", {".model.network.guides", ".model.network.guidance.widths"}),
        ("d", "e", {".model.network.guides"}),
        ("e", "f", {".loss.contrastive", ".loss.contrastive_weight"}),
        (
            "a",
            "c",
            {
                ".model.network.coarse",
                ".coarse_steps",
                ".loss.gamma_min",
                ".model.sampler.steps",
                ".model.schedule.timesteps",
                ".model.schedule.beta_end",
            },
        ),
    ],
)
def test_a_row_differs_from_the_one_before_in_what_it_adds(first, second, keys):
    assert changed(first, second) == keys


def test_rows_have_one_budget():
    budgets = {
        (c.steps, c.batch, c.seed, c.data.crops, c.optimizer.rate) for c in map(config, ROWS)
    }
    assert len(budgets) == 1


def test_each_row_is_what_table_2_says():
    networks = {name: config(name).model.network for name in ROWS}
    assert {n: (bool(s.coarse), bool(s.denoiser), s.guide_count) for n, s in networks.items()} == {
        "a": (False, True, 0),
        "b": (True, False, 0),
        "c": (True, True, 0),
        "d": (True, True, 1),
        "e": (True, True, 2),
        "f": (True, True, 2),
    }
    assert config("f").loss.contrastive in ("margin", "infonce")  # the bounded forms
    # Nothing but P's own loss reaches P, so that row c's P stands for row b.
    assert all(config(name).loss.detach and config(name).loss.coarse_weight for name in "bcdef")


def test_the_sampler_of_a_row_visits_levels_that_were_trained():
    from petrt.diffusion.noise_schedule import step_table

    for name in "acdef":
        c = config(name)
        levels = step_table(c.model.schedule, c.model.sampler).levels ** 2
        assert levels.min() >= c.loss.gamma_min


def test_size_is_counted_as_in_the_papers_table(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    found = describe("e", bundle)
    total = count(bundle.model.network).total(bundle.model.sampler.steps)
    assert found["weights_million"] == pytest.approx(total.table_parameters / 1e6, abs=1e-4)
    assert found["gmac"] == pytest.approx(total.macs / 1e9, abs=1e-3)


def test_calibration_and_words_do_not_change_what_was_measured(tiny_bundle):
    """A calibrated model keeps its measured cases; another sampler or other weights do not."""
    import dataclasses

    bundle = load_bundle(tiny_bundle)

    def altered(**fields: Any) -> str:
        spec = bundle.model.model_copy(update=fields)
        manifest = bundle.manifest.model_copy(update={"model": spec})
        return weights_key(dataclasses.replace(bundle, manifest=manifest, identity="other"))

    assert altered(description="other words") == weights_key(bundle)
    assert altered(sigma_r=0.1) != weights_key(bundle)
