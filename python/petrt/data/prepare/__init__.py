"""From pairs of low- and full-dose volumes as scanners leave them to a data set for training."""

from petrt.data.prepare.run import Options, Report, prepare

__all__ = ["Options", "Report", "prepare"]
