"""A simulation with the variety of clinical scanners: tracer, patient, physics, reconstruction, grid.

All that varies is drawn per subject (``parameters``). ``tracers`` gives the activity, ``physics`` what the
scanner measures of it, ``reconstruction`` the image, and ``subject`` puts them together.
"""

from petrt.data.simulate.varied.parameters import Drawn, draw
from petrt.data.simulate.varied.subject import simulate_varied

__all__ = ["Drawn", "draw", "simulate_varied"]
