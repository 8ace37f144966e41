"""Results: small results of pictures, for tests of what becomes of them."""

from app.imaging.matting.verdict import Verdict
from app.pipeline.values import Result, ResultInfo

VERDICT = Verdict(coverage=0.5, uncertainty=0.0, box=None, touches_border=False, is_empty=False)


def result_of(encoded: bytes, media_type: str = "image/png", mask: bytes | None = None) -> Result:
    """Build a result with some bytes as its picture."""
    info = ResultInfo("u2netp", "CPUExecutionProvider", "float32", "fast", "none", VERDICT, (), "0" * 32)
    return Result(encoded, media_type, 4, 3, info, mask)
