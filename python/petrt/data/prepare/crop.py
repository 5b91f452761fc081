"""Crops a volume to a box along canonical axes, given as Python slices: "166:294,191:319,-129:-1"."""

from __future__ import annotations

from dataclasses import replace

from petrt.data.index import Crop
from petrt.data.prepare.scan import LoadedScan
from petrt.errors import InputError, UsageError, called
from petrt.imaging.grid import plan

Box = tuple[tuple[int | None, int | None], ...]


def parse_box(text: str) -> Box:
    """The box ``x0:x1,y0:y1,z0:z1`` in voxels. As in Python, an end may be left out or negative."""
    try:
        ends = [
            [int(end) if end.strip() else None for end in part.split(":")]
            for part in text.split(",")
        ]
        (x0, x1), (y0, y1), (z0, z1) = ends
    except ValueError:
        raise UsageError(
            f"{called('crop')} '{text}' is not x0:x1,y0:y1,z0:z1", "as in 166:294,191:319,-129:-1"
        ) from None
    return (x0, x1), (y0, y1), (z0, z1)


def cropped(loaded: LoadedScan, box: Box) -> tuple[LoadedScan, Crop]:
    """``loaded`` cropped to ``box`` (voxels to the right, front and up), and the crop's record.

    Raises InputError if the box is empty or exceeds the volume.
    """
    shape = loaded.data.shape
    there = plan(shape, loaded.affine)
    start, stop = [0, 0, 0], [0, 0, 0]
    for name, (first, last), axis, flip in zip("xyz", box, there.axes, there.flips, strict=True):
        count = shape[axis]
        begin, end, _ = slice(first, last).indices(count)
        beyond = any(end is not None and not -count <= end <= count for end in (first, last))
        if begin >= end or beyond:
            raise InputError(
                f"the crop along {name} does not lie within its {count} voxels", "change --crop"
            )
        start[axis], stop[axis] = (count - end, count - begin) if flip else (begin, end)
    affine = loaded.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    crop = Crop(start=(start[0], start[1], start[2]), source_shape=(shape[0], shape[1], shape[2]))
    return replace(loaded, data=loaded.data[part].copy(), affine=affine), crop
