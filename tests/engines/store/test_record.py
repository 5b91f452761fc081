"""engine.json: what is written is read back, and nothing else is read."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from petrt.engines.store.record import (
    EngineRecord,
    Flags,
    GpuRecord,
    ProfileRecord,
    Verified,
    dump_record,
    parse_record,
)
from petrt.errors import DeviceError
from petrt.model.bundle import FileEntry
from tests.engines.store.records import PROFILE, VERIFIED, make_record

texts = st.text(max_size=20)
capabilities = st.tuples(st.integers(5, 20), st.integers(0, 9))
ranges = st.lists(st.integers(1, 4096), min_size=3, max_size=3).map(lambda v: tuple(sorted(v)))
finite = st.floats(allow_nan=False, allow_infinity=False)
gpus = st.builds(GpuRecord, name=texts, compute_capability=capabilities, driver=texts)
profiles = st.builds(ProfileRecord, slices=ranges, samples=ranges, height=ranges, width=ranges)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
entries = st.builds(FileEntry, bytes=st.integers(0, 2**31), sha256=hashes)
checks = st.none() | st.builds(
    Verified,
    psnr_db=st.none() | finite,
    suvmax_shift_percent=finite,
    nonfinite=st.integers(0, 10),
    against=texts,
    volume=texts,
    gpu=st.none() | gpus,
)


@st.composite
def records(draw: st.DrawFn) -> EngineRecord:
    rtx = draw(st.booleans())
    names = ["guidance.plan", "coarse.plan", "denoiser.plan"]
    return make_record(
        engine="tensorrt-rtx" if rtx else "tensorrt",
        engine_version=draw(texts),
        precision=draw(st.sampled_from(["fp32", "fp16", "bf16"])),
        gpu=None if rtx else draw(gpus),
        targets=tuple(draw(st.lists(capabilities, min_size=1, max_size=3))) if rtx else (),
        profile=draw(profiles),
        flags=draw(st.builds(Flags, tf32=st.booleans())),
        verified=draw(checks),
        built_seconds=draw(st.floats(0, 1e6)),
    ).model_copy(
        update={"files": draw(st.dictionaries(st.sampled_from(names), entries, min_size=1))}
    )


def signed(fields):
    """The file of a record with these fields, with the digest that belongs to them."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps({**fields, "sha256": digest}).encode()


def test_records_of_earlier_versions_are_read():
    """They had fields for networks in int8, empty in every other record."""
    record = make_record(verified=VERIFIED)
    fields = record.model_dump(mode="json") | {"cpu": None, "quantized": None}
    fields["verified"]["loss_db"] = None
    assert parse_record(signed(fields)) == record


@given(records())
def test_a_record_survives_the_way_through_its_file(record: EngineRecord):
    assert parse_record(dump_record(record)) == record


@given(records(), st.data())
def test_no_byte_can_be_changed_unnoticed(record: EngineRecord, data: st.DataObject):
    text = bytearray(dump_record(record))
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 127))
    found = record  # white space may change, and ways to write the same
    with suppress(DeviceError):
        found = parse_record(bytes(text))
    assert found == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100000, "not JSON"),
        (b"[]", "not the record of an engine"),
        (b'{"format": "petrt-bundle"}', "not the record of an engine"),
        (b'{"format": "petrt-engine", "version": 2}', "has version 2, this petrt reads 1"),
    ],
)
def test_what_is_no_record_is_told_in_a_few_words(text, message):
    with pytest.raises(DeviceError, match=message):
        parse_record(text)


@pytest.mark.parametrize(
    "change",
    [
        {"gpu": None},
        {"targets": ((8, 9),)},
        {"engine": "tensorrt-rtx", "targets": ()},
        {"files": {"../evil.plan": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {"timing.cache": {"bytes": 1, "sha256": "0" * 64}}},
        {"files": {}},
        {"precision": "int8"},
        {"profile": PROFILE.model_dump() | {"slices": (2, 1, 3)}},
        {"model": {"name": "../up", "sha256": "a" * 64}},
    ],
)
def test_contradictions_are_refused(change):
    with pytest.raises(ValidationError):
        make_record(**change)


def test_the_key_tells_apart_what_is_installed_side_by_side():
    one = make_record()
    same = make_record(engine_version="11.5", built_seconds=3)
    assert same.key == one.key
    other_driver = one.gpu.model_copy(update={"driver": "1"})
    assert make_record(gpu=other_driver).key == one.key
    others = [
        make_record(precision="fp16"),
        make_record(engine="tensorrt-rtx"),
        make_record(engine="tensorrt-rtx", targets=((8, 6),)),
        make_record(gpu=one.gpu.model_copy(update={"name": "NVIDIA A100"})),
        make_record(model={"name": "tiny", "sha256": "b" * 64}),
    ]
    assert len({record.key for record in (one, *others)}) == len(others) + 1
    targets = ((8, 6), (8, 9))
    rtx = make_record(engine="tensorrt-rtx", targets=targets)
    assert rtx.key == make_record(engine="tensorrt-rtx", targets=targets[::-1]).key
