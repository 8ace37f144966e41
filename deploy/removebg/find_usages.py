"""Find usages: lists the places of a code base that call remove.bg, and what each must become.

    python find_usages.py FOLDER_OR_FILE... [--server https://cutout.example] [--json]

Reads text files of any language, without changing them, and needs only Python 3.9. Folders of version control
and of installed packages are left out. Each finding is a line ``file:line: what is there``, followed by what
to do. The exit status is 0 if something was found, 1 if not, and 2 if a path cannot be read.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

LEFT_OUT = {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", "vendor", "dist", "build"}
MAX_BYTES = 5_000_000
MAX_SHOWN = 160
MUST, CHECK = "change", "check"


@dataclass(frozen=True)
class Rule:
    """A pattern, what it means where it is found, and what to do; ``{server}`` is the new server."""

    kind: str
    pattern: str
    meaning: str
    action: str
    files: str = ""


@dataclass(frozen=True)
class Finding:
    """A rule that matches a line."""

    path: str
    line: int
    kind: str
    meaning: str
    action: str
    text: str


PYTHON, NODE, RUBY = (
    r"\.(?:pyi?|md|ipynb)$",
    r"\.(?:[cm]?[jt]sx?|md|vue|svelte)$",
    r"(?:\.rb|\.rake|Gemfile)$",
)
NODE_IMPORT = r"""(?:require\(|from\s+|import\s+)["']{}["']"""
POSTED = "its address is fixed: use the redirect setup, or post the form to {server}/v1.0/removebg yourself"
CLIENTS = (
    Rule(
        MUST,
        r"(?:from|import)\s+removebg\b",
        "the client removebg (PyPI)",
        'set `removebg.removebg.API_ENDPOINT = "{server}/v1.0/removebg"` before the first call',
        PYTHON,
    ),
    Rule(
        MUST,
        r"(?:from|import)\s+remove_bg_api\b",
        "the client remove-bg-api (PyPI)",
        'set `remove_bg_api.API_URL = "{server}/v1.0"` before the first call',
        PYTHON,
    ),
    Rule(
        MUST,
        r"(?:from|import)\s+removebg_cli\b|install removebg-cli\b",
        "the client removebg-cli (PyPI)",
        "its addresses are fixed: use the redirect setup, or `cutout remove` for folders",
    ),
    Rule(MUST, NODE_IMPORT.format(r"remove\.bg"), "the client remove.bg (npm)", POSTED, NODE),
    Rule(
        MUST,
        NODE_IMPORT.format("removebg-(?:id|wrapper)"),
        "the client removebg-id or removebg-wrapper (npm)",
        POSTED,
        NODE,
    ),
    Rule(
        MUST,
        r"\bRemoveBg::|require\s+[\"']remove_bg[\"']",
        "the client remove_bg (Ruby)",
        'pass `RemoveBg::ApiClient.new(connection: RemoveBg::HttpConnection.build("{server}"))`',
        RUBY,
    ),
)
MANIFESTS = (
    r"(?:package(?:-lock)?\.json|requirements.*\.(?:txt|in)|pyproject\.toml|Pipfile|Gemfile"
    r"|setup\.(?:py|cfg)|go\.mod)$"
)
PACKAGES = (
    r"""(?:^\s*|["'\s/])(?:removebg|remove-bg-api|removebg-cli|remove\.bg|removebg-id|removebg-wrapper"""
    r"""|removd|remove_bg|remove-bg/go)(?:["']\s*(?:[:,\]]|$)|\s*[=~<>!;\[]|\s*$|\s+v\d)"""
)

RULES = (
    Rule(
        MUST,
        r"api\.remove\.bg",
        "the address of the remove.bg API",
        "replace the host: https://api.remove.bg/v1.0/… becomes {server}/v1.0/…",
    ),
    Rule(
        MUST,
        r"(?<!api\.)\b(?:www\.|accounts\.|sdk\.)remove\.bg/(?!api\b|[a-z-]*(?:help|docs|blog|pricing|tools))[\w/]+",
        "an address of the remove.bg website",
        "the website has no counterpart here; only /v1.0/removebg, /account and /improve have",
    ),
    *CLIENTS,
    Rule(
        CHECK,
        PACKAGES,
        "a client of remove.bg among the dependencies",
        "keep it if its address can be set or redirected (see its import), else remove it",
        MANIFESTS,
    ),
    Rule(
        MUST,
        r"(?i)\bremove_?bg_?(?:api_?)?(?:key|token|secret)\w*",
        "a variable with a remove.bg key",
        "fill it with a key of `cutout keys new`; without keys the service accepts any",
    ),
)
NEARBY = (
    Rule(
        CHECK,
        r"""\b(?:add_shadow|semitransparency|type_level)\b""",
        "an option without effect here",
        "it may stay: it is accepted and does nothing",
    ),
    Rule(
        CHECK,
        r"""shadow_type\W{1,5}(?:car|3D)\b""",
        "a shadow for cars",
        "it is accepted and does nothing; `drop` gives a soft shadow",
    ),
    Rule(
        CHECK,
        r"(?i)x-credits-charged|\bcredits_charged\b",
        "the header with the credits",
        "it is always 0, as a whole number",
    ),
    Rule(
        CHECK,
        r"(?i)x-max-(?:width|height)",
        "a header of older versions",
        "it is not sent; X-Width and X-Height are",
    ),
    Rule(
        CHECK,
        r"\bimage_url\b|\bbg_image_url\b",
        "a picture that the server downloads",
        "the operator must allow it (CUTOUT_REMOTE__ENABLED); else upload the file",
    ),
    Rule(
        CHECK,
        r"(?i)/v1\.0/(?:improve|account)",
        "the route for accounts or improvements",
        "responses have the same form: credits never run out, and improvements are not stored",
    ),
)
"""Rules for files that call remove.bg; elsewhere these words mean something else."""


def findings_in(text: str, path: str, server: str) -> list[Finding]:
    """Return the findings in one file."""
    found = list(_matches(RULES, text, path, server))
    if any(each.meaning != RULES[-1].meaning for each in found):
        found += _matches(NEARBY, text, path, server)
    return sorted(found, key=lambda each: (each.line, each.kind != MUST))


def _matches(rules: Iterable[Rule], text: str, path: str, server: str) -> Iterator[Finding]:
    lines = text.splitlines()
    for rule in rules:
        if not re.search(rule.files, path):
            continue
        pattern = re.compile(rule.pattern)
        for number, line in enumerate(lines, 1):
            if match := pattern.search(line):
                begin = max(0, match.start() - MAX_SHOWN // 2)
                shown = line[begin : begin + MAX_SHOWN].strip()
                action = rule.action.replace("{server}", server)
                yield Finding(path, number, rule.kind, rule.meaning, action, shown)


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files below the paths, sorted.

    Raises:
        OSError: A path does not exist or cannot be read.
    """
    for path in paths:
        if not path.is_dir():
            path.stat()
            yield path
            continue

        def refuse(error: OSError) -> None:
            raise error

        for folder, folders, names in os.walk(path, onerror=refuse):
            folders[:] = sorted(
                name
                for name in folders
                if name not in LEFT_OUT and not name.endswith((".dist-info", ".egg-info"))
            )
            yield from (Path(folder) / name for name in sorted(names))


def read_text(path: Path) -> str:
    """Return a file's text; empty for pictures, programs and other binary files, and for very long ones."""
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return ""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


def main() -> int:
    """Print the findings; return the exit status."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("paths", type=Path, nargs="+", help="folders and files to read")
    parser.add_argument("--server", default="https://your-host", help="address of the Cutout server")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = parser.parse_args()
    found: list[Finding] = []
    try:
        for path in files_in(args.paths):
            found += findings_in(read_text(path), str(path), args.server.rstrip("/"))
    except OSError as error:
        print(f"find_usages: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return 0 if found else 1
    for each in found:
        print(f"{each.path}:{each.line}: {each.meaning}\n    {each.text}\n    {each.kind}: {each.action}")
    files = len({each.path for each in found})
    must = sum(each.kind == MUST for each in found)
    print(f"\n{must} places to change and {len(found) - must} to check, in {files} files.")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
