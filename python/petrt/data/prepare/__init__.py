"""Makes a data set for training from pairs of low- and full-dose scans."""

from petrt.data.prepare.run import Options, Report, prepare

__all__ = ["Options", "Report", "prepare"]
