"""Counts as plain values, for JSON files and tables."""

from __future__ import annotations

from typing import Any

from petrt.flops.subject import Counted
from petrt.flops.table2 import SIZE, Row
from petrt.model.size import Count, ModelCount

CONVENTION = (
    "MACs of convolutions and linear layers, attention's two products apart; "
    "FLOPs = 2 x MACs, attention's included; norms and activations free"
)


def describe(counted: Counted, steps: int, samples: int) -> dict[str, Any]:
    """The counts of one slice with ``samples`` samples of ``steps`` steps."""
    folded = describe_form(counted.folded, steps, samples)
    unfolded = counted.unfolded and describe_form(counted.unfolded, steps, samples)
    return {
        "subject": counted.name,
        "kind": counted.kind,
        "size": list(counted.size),
        "steps": steps,
        "samples": samples,
        "upsample": counted.upsample,
        "convention": CONVENTION,
        "counted_from": dict(counted.source),
        "unfolded": unfolded,
        "folded": folded,
        "folded_over_unfolded": unfolded
        and round(folded["total"]["flops"] / unfolded["total"]["flops"], 6),
    }


def describe_form(count: ModelCount, steps: int, samples: int) -> dict[str, Any]:
    """For each network the count of one call, the number of calls per slice, and its share of the work."""
    calls, total = count.calls(steps, samples), count.total(steps, samples)
    parts = {}
    for name, part in count.parts.items():
        if part != Count():
            work = calls[name] * part.all_macs
            parts[name] = {
                **describe_count(part),
                "calls": calls[name],
                "share": round(work / total.all_macs, 6),
            }
    return {
        "parts": parts,
        "noise_bias_parameters": count.noise_bias,
        "total": describe_count(total),
    }


def describe_count(count: Count) -> dict[str, int]:
    return {
        "parameters": count.parameters,
        "norm_parameters": count.norm_parameters,
        "macs": count.macs,
        "attention_macs": count.attention_macs,
        "flops": count.flops,
    }


def describe_table2(rows: list[Row]) -> dict[str, Any]:
    """Table 2, with the paper's numbers and our counts."""
    return {
        "size": list(SIZE),
        "convention": "millions of parameters without GroupNorms', G MACs without attention's products",
        "rows": [
            {
                "row": row.printed.row,
                "configuration": row.printed.configuration,
                "steps": row.printed.steps,
                "parameters": row.parameters,
                "paper_parameters_m": row.printed.parameters_m,
                "parameters_off_m": round(row.off[0], 6),
                "macs": row.macs,
                "macs_as_printed": row.macs_as_printed,
                "paper_macs_g": row.printed.macs_g,
                "macs_off_g": round(row.off[1], 6),
            }
            for row in rows
        ],
    }
