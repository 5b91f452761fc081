"""Engines run the networks. All of them implement the protocol in ``base``."""

from petrt.engines.base import Engine
from petrt.engines.select import select_engine

__all__ = ["Engine", "select_engine"]
