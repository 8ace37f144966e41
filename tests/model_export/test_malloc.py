"""Malloc: with ``keep_freed_memory``, freed arrays stay in the process and are not cleared again."""

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


def page_faults(*, keeps: bool) -> int:
    """Return the page faults of a process that allocates and writes a large array repeatedly."""
    program = PROGRAM.format(keeps=keeps)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_reused_without_page_faults() -> None:
    kept, returned = page_faults(keeps=True), page_faults(keeps=False)

    assert returned > ROUNDS, "no memory was returned without keep_freed_memory, so the test proves nothing"
    assert kept < returned / 10
