"""Engines: what runs the networks. One narrow protocol, one module each."""

from petrt.engines.base import Engine
from petrt.engines.select import select_engine

__all__ = ["Engine", "select_engine"]
