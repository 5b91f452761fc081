"""What a trained model's record says of its last validation, for petrt export and petrt inspect."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("petrt")

# What was compared with the full dose, and how it is called here.
IMAGES = {"low": "input", "coarse": "coarse", "sample": "one sample", "ams": "AMS"}


@dataclass(frozen=True)
class Validation:
    """``psnr`` in dB against the full dose by image, under ``protocol``, at training ``step``."""

    step: int
    protocol: str
    psnr: Mapping[str, float]

    def __str__(self) -> str:
        numbers = ", ".join(
            f"{word} {self.psnr[name]:.2f}" for name, word in IMAGES.items() if name in self.psnr
        )
        return f"PSNR at step {self.step} ({self.protocol}), dB: {numbers}"

    @property
    def warnings(self) -> list[str]:
        """What speaks against using the model."""
        low = self.psnr.get("low")
        if low is None:
            return []
        return [
            f"{IMAGES[name]} is {low - self.psnr[name]:.2f} dB worse than the input in the validation: "
            f"{why}"
            for name, why in (
                (
                    "coarse",
                    "the coarse network has not learned; train longer, or see docs/training.md",
                ),
                ("ams", "the mean of samples makes the image worse; train the denoiser longer"),
            )
            if name in self.psnr and self.psnr[name] < low
        ]


def validation_of(training: Mapping[str, Any]) -> Validation | None:
    """The last validation in the record of a training; None without one."""
    found = training.get("validation")
    scores = found.get("psnr") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(scores, dict) or not scores:
        return None
    protocol = "standard" if "standard" in scores else next(iter(scores))
    numbers = {
        name: float(value)
        for name, value in scores[protocol].items()
        if isinstance(value, int | float)
    }
    if not numbers or not isinstance(found.get("step"), int):
        return None
    return Validation(found["step"], protocol, numbers)


def tell_validation(training: Mapping[str, Any]) -> None:
    """Log which step of its training a model is from, and how it did in the last validation."""
    step, found = training.get("step"), validation_of(training)
    if step is not None:
        text = "without a validation" if found is None else str(found)
        logger.info("exported from step %s of its training, %s", step, text)
    for warning in () if found is None else found.warnings:
        logger.warning("warning: %s", warning)
