"""The GPU's memory, as far as that goes without one."""

import pytest

from app.engine.models.device import why_cuda_is_out_of_reach
from app.engine.models.gpu import GpuUnreadable, open_gpu_memory


@pytest.mark.skipif(why_cuda_is_out_of_reach() is None, reason="there is a GPU here")
def test_without_a_gpu_the_reason_is_said() -> None:
    with pytest.raises(GpuUnreadable, match=r"nvidia-ml-py|NVML|libcuda"):
        open_gpu_memory()


@pytest.mark.gpu
@pytest.mark.skipif(why_cuda_is_out_of_reach() is not None, reason="there is no GPU here")
def test_with_a_gpu_a_part_of_its_memory_is_in_use() -> None:
    memory = open_gpu_memory()

    assert 0 < memory.used_bytes() < memory.total_bytes()
