"""Encodes a picture as lossless JPEG (process 14, predictor 1; ITU-T T.81 annex H), for tests of decoders."""

from __future__ import annotations

import struct

import numpy as np


def lossless_jpeg(picture: np.ndarray) -> bytes:
    """``picture`` uint16 [rows, columns] in one scan; all 17 sizes of a difference have a code of 5 bits."""
    rows, columns = picture.shape
    sizes = bytes(range(17))
    table = b"\x00" + bytes([0, 0, 0, 0, 17] + [0] * 11) + sizes
    frame = struct.pack(">BHHB", 16, rows, columns, 1) + b"\x01\x11\x00"
    scan = b"\x01\x01\x00" + b"\x01\x00\x00"
    head = b"\xff\xd8" + _segment(0xC3, frame) + _segment(0xC4, table) + _segment(0xDA, scan)
    bits = "".join(_code(int(each)) for each in _differences(picture))
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return head + coded + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _differences(picture: np.ndarray) -> np.ndarray:
    """To the left neighbour; in the first column to the one above; of the first to half of the range."""
    values = picture.astype(np.int64)
    before = np.empty_like(values)
    before[:, 1:] = values[:, :-1]
    before[1:, 0] = values[:-1, 0]
    before[0, 0] = 1 << 15
    return ((values - before + 32767) % 65536 - 32767).reshape(-1)


def _code(difference: int) -> str:
    size = abs(difference).bit_length()
    if difference == 32768:
        return f"{16:05b}"
    if size == 0:
        return f"{0:05b}"
    value = difference if difference > 0 else difference + (1 << size) - 1
    return f"{size:05b}{value:0{size}b}"
