"""GPU memory, with and without a GPU."""

import pytest

from app.engine.models.device import why_cuda_is_out_of_reach
from app.engine.models.gpu import GpuUnreadable, open_gpu_memory


@pytest.mark.skipif(why_cuda_is_out_of_reach() is None, reason="this machine has a GPU")
def test_without_a_gpu_the_error_has_the_reason() -> None:
    with pytest.raises(GpuUnreadable, match=r"nvidia-ml-py|NVML|libcuda"):
        open_gpu_memory()


@pytest.mark.gpu
@pytest.mark.skipif(why_cuda_is_out_of_reach() is not None, reason="this machine has no GPU")
def test_with_a_gpu_part_of_its_memory_is_in_use() -> None:
    memory = open_gpu_memory()

    assert 0 < memory.used_bytes() < memory.total_bytes()
