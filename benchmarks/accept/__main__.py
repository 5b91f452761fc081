"""``python -m benchmarks.accept``."""

import sys

from benchmarks.accept.run import main

sys.exit(main())
