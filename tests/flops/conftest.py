"""One thread, as for all tests of such small networks."""

from tests.nets.conftest import one_thread

__all__ = ["one_thread"]
