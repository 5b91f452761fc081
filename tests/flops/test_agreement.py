"""Two counters, one number: modules of PyTorch against steps; folded against unfolded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petrt.export.size import folded_count, hollow_networks
from petrt.flops import bundle_macs
from petrt.flops.bundle import noise_bias_parameters
from petrt.flops.network import Work, count_network
from petrt.flops.subject import differences
from petrt.model.bundle import Bundle, load_bundle
from petrt.model.size import Count
from petrt.model.spec import NetworkSpec
from petrt.nets import PRESETS
from petrt.nets.count import count
from tests.export.conftest import NETWORKS

ALL: dict[str, NetworkSpec] = {
    **{f"preset {name}": spec for name, spec in PRESETS.items()},
    **{f"small, {name}": spec for name, spec in NETWORKS.items()},
    "demo": load_bundle("demo").model.network,
}
upsamplings = pytest.mark.parametrize("upsample", ["conv", "transposed"])
multiples_of_8 = st.integers(2, 24).map(lambda n: 8 * n)


def from_steps(spec: NetworkSpec, height: int, width: int, upsample: str) -> dict[str, Count]:
    dimensions = {"height": height, "width": width, "slices": 1, "images": 1}
    networks = hollow_networks(spec, upsample)  # type: ignore[arg-type]
    return {name: count_network(each, dimensions).count for name, each in networks.items()}


@pytest.mark.parametrize("upsample", ["conv", pytest.param("transposed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list(ALL))
def test_modules_and_steps_give_the_same_numbers(name, upsample):
    spec = ALL[name]
    modules, steps = folded_count(spec, 128, 96, upsample), from_steps(spec, 128, 96, upsample)
    assert {name: part for name, part in modules.parts.items() if part != Count()} == steps
    assert differences(modules, steps) == ""


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from(["preset tiny", "demo", "preset mini", "small, denoiser"]),
    height=multiples_of_8,
    width=multiples_of_8,
    upsample=st.sampled_from(["conv", "transposed"]),
)
def test_they_agree_at_every_size(name, height, width, upsample):
    spec = ALL[name]
    modules = folded_count(spec, height, width, upsample)
    assert differences(modules, from_steps(spec, height, width, upsample)) == ""


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return load_bundle("demo")


def counts(works: dict[str, Work]) -> dict[str, Count]:
    return {name: work.count for name, work in works.items()}


def test_a_shipped_bundle_is_what_its_specification_says(demo):
    expected = folded_count(demo.model.network, 96, 112)
    assert counts(bundle_macs(demo, 96, 112)) == expected.parts
    assert noise_bias_parameters(demo) == expected.noise_bias
    recorded = dict(demo.manifest.export["size"])
    size = count(demo.model.network)
    assert recorded.pop("noise_bias") == size.noise_bias
    assert {n: Count(**p) for n, p in recorded.items()} == size.parts


def test_work_grows_with_slices_and_samples_and_weights_do_not(demo):
    one = bundle_macs(demo, 64, 64)
    many = bundle_macs(demo, 64, 64, slices=3, samples=4)
    images = {"guidance": 3, "coarse": 3, "denoiser": 12}
    for name, work in many.items():
        assert work.count.all_macs == images[name] * one[name].count.all_macs
        assert work.count.parameters == one[name].count.parameters
        assert work.weight_bytes == one[name].weight_bytes
        assert work.output_bytes == images[name] * one[name].output_bytes
    # the samples of a slice share its maps, and all steps' images the noise bias
    film = 4 * demo.noise_bias_weights()["film.bias"].size
    image = 4 * 64 * 64
    maps = one["denoiser"].input_bytes - film - image
    assert many["denoiser"].input_bytes == film + 12 * image + 3 * maps


def test_folding_leaves_work_out_and_the_transposed_form_more():
    spec = PRESETS["paper"]
    unfolded, folded = count(spec), folded_count(spec)
    assert folded.denoiser.macs < unfolded.denoiser.macs
    assert folded.total(10).all_macs < unfolded.total(10).all_macs
    spread = folded_count(spec, 128, 128, "transposed")
    # Nearest and 3x3 convs of P: 128, 192 and 256 channels to 128, 64 and 32 rows; 5/9 of it less.
    ups = sum(9 * width**2 * rows**2 for width, rows in ((128, 128), (192, 64), (256, 32)))
    assert folded.coarse.macs - spread.coarse.macs == 5 * ups // 9
    assert folded.denoiser.attention_macs == unfolded.denoiser.attention_macs
