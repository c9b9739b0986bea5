"""How property tests draw: the same examples in every run, so that a change is judged by what it changed.

`HYPOTHESIS_PROFILE=explore`, as `make test-long` sets it, draws new ones, and more of them.
"""

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
