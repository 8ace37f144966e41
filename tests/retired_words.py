"""Retired words: finds names and words that this project has replaced by the usual ones.

    python -m tests.retired_words  # prints "path:line: word: write X"; exits with 1 if it finds any

``NAMES`` match as whole words in their exact case. ``PROSE`` matches in any case, and in the parts of a name
too (``test_nobody_waits``). The lists have only words without false alarms in this repository.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("app", "model_export", "tests", "benchmarks", "docs", "docker", "deploy")
SUFFIXES = frozenset({".py", ".md", ".toml", ".yml", ".yaml", ".json", ".in", ".txt", ""})

NAMES = {
    "Wanted": "CutoutRequest or MaskRequest",
    "Beside": "fields of the request",
    "WayIn|way_in": "AdmittedUpload, upload",
    "ReadPicture": "PreparedPicture",
    "Seen|_see": "Segmentation, _segment",
    "Drawn": "Rendered",
    "Facts": "ResultInfo",
    "finish_(mask|cutout)": "encode_mask, encode_cutout",
    "_look_closer": "refine",
    "Job|Journal|RequestJournal": "RequestContext",
    "Settled|Remembered": "EarlyResult, CachedResult",
    "Journey|_?relayed|Leg": "a coroutine, run_on_threads, ThreadAwaitable",
    "Understand": "ParseRequest",
    "KeyGuard|KeyRing": "ApiKeyAuth, ApiKeys",
    "TimeGate": "LoadShedder",
    "unless_departed|ClientDeparted": "cancel_on_disconnect, ClientDisconnected",
    "PiecewiseResponse": "SlicedResponse",
    "Door": "ConnectionLimits",
    "RemotePictures": "PictureFetcher",
    "Asked": "InferRequest",
    "Replays": "IdempotencyKeys",
    "NameReused|name-reused": "IdempotencyKeyReused",
    "UnderWay|under-way": "RequestInProgress",
    "Cells|bury": "SandboxPool, discard",
    "Forecast|on_its_way": "WaitEstimator, counting",
    "Allowances?|Standing": "Quota, QuotaRegistry, QuotaStatus",
    "step_back|step_forward": "lower_priority, favour_latency",
    "hold_little_memory": "tune_allocator",
    "mask_of": "saliency_from_mask",
    "_?fingerprint": "etag_of or request_digest",
    "hangs_up": "closes_connection",
    "SUBJECT_FROM": "FOREGROUND_THRESHOLD or BOX_ALPHA_THRESHOLD",
    "Orders": "TrainOptions",
    r"MOST_\w+|most_\w+(?=(: \w+)? = )": "MAX_, max_",
    r"LEAST_\w+|least_\w+(?=(: \w+)? = )": "MIN_, min_",
    r"web/(carry|departure|gate|guard|journal|keys|oip|pieces|remote)\.py": "the new name of the module",
    r"engine/(cells|relay|replays)\.py|app/isolation\.py": "the new name of the module",
}
PROSE = {
    "whoever|nobody|somebody|anybody|strangers?": "the client, the operator, another program",
    "answer(s|ed|ing)?": "response (HTTP), result (pipeline), return",
    "carr(y|ies|ied|ying)(?!_out| out)": "process, contain, run",
    "told": "message, reported",
    "beside": "in addition to, next to",
    "legs?": "a call on a thread",
    "departed|departure": "disconnected, disconnect",
    "doors?": "the part that checks the request",
    "journals?": "request context, log",
    "believed": "trusted",
    "(is|are|was|were) to be|(has|have|had) to be": "must be",
}
EXCEPTIONS = {
    r"tests/(test_)?retired_words\.py": ".*",  # the words themselves
    r"CHANGELOG\.md": "name-reused|under-way|departed|answer",  # old names, next to the new ones
    # Texts that clients read: details of errors.
    r"app/(errors|web/request/fetch)\.py": "[Aa]nswer(s|ing)?",
    r"tests/web/test_problems\.py": "answers",  # such a text
    r"benchmarks/responses\.py": "name-reused|under-way",  # slugs of an older version, to compare with
}


def find(root: Path) -> Iterator[str]:
    """Yield a line for each retired word in the files of a project."""
    words = {re.compile(rf"\b(?:{word})\b"): new for word, new in NAMES.items()}
    words |= {re.compile(rf"(?i)(?<![a-z\d-])(?:{word})(?![a-z\d])"): new for word, new in PROSE.items()}
    for path in sorted(_files(root)):
        allowed = "|".join(word for where, word in EXCEPTIONS.items() if re.fullmatch(where, path))
        text = (root / path).read_text(encoding="utf-8")
        finds = [(m.start(), m[0], new) for each, new in words.items() for m in each.finditer(text)]
        for start, word, new in sorted(finds):
            if not re.fullmatch(allowed, word):
                yield f"{path}:{text.count(chr(10), 0, start) + 1}: {word}: write {new}"


def _files(root: Path) -> Iterator[str]:
    """Yield the paths to search: the tracked files, or without git all files of the folders."""
    command = ["git", "ls-files", "-z", *FOLDERS, "*.md", "Makefile"]
    try:
        git = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        paths = [root / name for name in git.stdout.split("\0")]
    except (FileNotFoundError, subprocess.CalledProcessError):
        paths = [*root.glob("*.md"), root / "Makefile", *(p for f in FOLDERS for p in (root / f).rglob("*"))]
    for path in paths:
        if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix()


if __name__ == "__main__":
    sys.exit("\n".join(find(ROOT)) or 0)
