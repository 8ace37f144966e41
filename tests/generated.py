"""Generated: how many examples Hypothesis generates, as one profile for all tests.

`make unit` uses the profile ``quick``, `make test` uses ``default`` and `make test-all` uses ``thorough``.
The variable ``HYPOTHESIS_PROFILE`` or the option ``--hypothesis-profile`` selects another one. A test of a
large space gets a multiple of the profile's examples, and one whose examples are slow gets a fraction::

    @examples(2)
    @given(...)
"""

import os

from hypothesis import settings

# The rules that one run of a state machine may execute, by profile, in addition to the number of examples.
PROFILES = {"quick": (20, 30), "default": (100, 60), "thorough": (400, 100)}


def load_profile() -> None:
    """Register the profiles and load the one that the environment names."""
    for name, (count, steps) in PROFILES.items():
        # No deadline: how long an example takes depends on what else runs on the machine.
        settings.register_profile(name, max_examples=count, stateful_step_count=steps, deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(factor: float) -> settings:
    """Return settings with a multiple of the examples of the current profile."""
    return settings(max_examples=max(1, round(factor * settings().max_examples)))
