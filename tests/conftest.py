"""Settings of the whole suite."""

from __future__ import annotations

import os

from hypothesis import settings

# Threads of OpenMP sleep while they wait, where by default they burn a processor: beside any other
# load, tests of small tensors take a fifth of the time. Read when torch is loaded, here and in the
# processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The same examples at every run, however loaded the machine: a failure is the change's, and comes
# again. INTP_EXPLORE=1 draws new ones.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("INTP_EXPLORE") == "1" else "suite")
