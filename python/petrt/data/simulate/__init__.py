"""Simulates brain PET at full and reduced dose, for training, demos and tests without patients."""

from petrt.data.simulate.dataset import write_dataset
from petrt.data.simulate.subject import DOSES, Subject, simulate_subject

__all__ = ["DOSES", "Subject", "simulate_subject", "write_dataset"]
