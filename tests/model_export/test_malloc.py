"""Freed arrays stay with the process once it is asked for, so that the kernel need not clear pages again."""

import subprocess
import sys

import pytest

SIZE_BYTES, ROUNDS = 64 << 20, 20
PROGRAM = f"""
import resource
import numpy as np
from model_export.malloc import keep_freed_memory

if {{keeps}}:
    keep_freed_memory()
for round in range({ROUNDS + 1}):
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones({SIZE_BYTES}, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keeps: bool) -> int:
    """Return how many pages the kernel had to bring while a process wrote a large array again and again."""
    program = PROGRAM.format(keeps=keeps)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is asked")
def test_what_is_freed_is_not_fetched_from_the_kernel_again() -> None:
    kept, returned = faults(keeps=True), faults(keeps=False)

    assert returned > ROUNDS, "nothing was given back in the first place, so this test shows nothing"
    assert kept < returned / 10
