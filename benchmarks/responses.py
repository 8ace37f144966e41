"""Responses: two checkouts of the project must respond to the same requests with the same bytes.

    python -m benchmarks.responses BEFORE AFTER [--model u2netp] [--pairs open limited] [--only TEXT]

BEFORE and AFTER are folders, for example ``git worktree add ../before v1.0``. A server runs in each; all
requests of ``response_options.py``, ``response_dialects.py`` and ``response_limits.py`` are sent to both, in
the same order. Status, headers and body must be the same, except for times, ids and what ``RENAMED`` lists.
A second pair of servers has other settings: keys, quotas, small limits.

The texts of the documentation (the OpenAPI document, the pages of problems and of ``/docs``) may differ; they
are counted separately. Any other difference is printed, and makes the exit status 1.
"""

import argparse
import difflib
import json
import re
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import httpx

from app.web.problems import KINDS
from benchmarks.commits import SERVE_COMMAND
from benchmarks.report import print_machine
from benchmarks.response_dialects import dialect_requests
from benchmarks.response_limits import KEYS, PAIRS, endpoint_requests, limited_requests
from benchmarks.response_options import option_requests
from benchmarks.response_requests import ETAG, Request
from benchmarks.server import Server, add_server_arguments

RENAMED: Mapping[str, str] = {"name-reused": "idempotency-key-reused", "under-way": "request-in-progress"}
"""Slugs of problem types: old and new."""
RENAMED_OPTIONS: Mapping[str, str] = {"locates": "report_box"}
"""Options, in the lists of accepted names: old and new."""
RENAMED_TITLES: Mapping[str, str] = {
    "A key is needed here": "An API key is required",
    "The request takes too much memory": "The request needs too much memory",
    "The mask has another shape": "The mask does not fit the picture",
    "The picture's URL cannot be asked": "The picture URL is not allowed",
    "Pictures are not fetched here": "Fetching pictures by URL is disabled",
    "The picture's URL gives no picture": "The picture URL returned no picture",
    "This name belongs to another request": "The idempotency key belongs to another request",
    "This request is being worked out": "The request is already in progress",
    "There is nothing here": "There is no such path",
    "This method is not allowed here": "This method is not allowed",
    "This version of HTTP is not spoken here": "This HTTP version is not supported",
    "Something broke on our side": "Internal error",
}
"""Titles of problem types: old and new."""
SETTINGS = {
    "CUTOUT_ENGINE__THREADS": "1",
    "CUTOUT_ENGINE__WORKERS": "1",
    "CUTOUT_ENGINE__HQ_BUDGET_S": "30",  # what time cuts short differs from run to run
    "CUTOUT_WEB__PORT": "0",
}
TIMEOUT_S = 60.0
DOCUMENTS = re.compile(r"/(openapi\.json|docs(/.*)?|problems/.*)")
TEXT_MEMBERS = frozenset({"description", "detail", "summary", "title"})
# Times and ids in headers and in bodies: their names and places are compared, their values are not.
VOLATILE_HEADERS: Sequence[tuple[str, str, str]] = (
    ("date", r".*", "*"),
    ("etag", r"[0-9a-f]{32}", "*"),  # of the options too, whose names may change
    ("content-type", r"cutout-[0-9a-f]{32}", "cutout-*"),  # the boundary, which has the entity tag
    ("x-request-id", r".*", "*"),
    ("server-timing", r"dur=[\d.]+", "dur=*"),
    ("x-cutout-matting", r"dur=[\d.]+", "dur=*"),
    ("ratelimit", r"t=\d+", "t=*"),
    ("x-ratelimit-reset", r"\d+", "*"),
)
VOLATILE_BODY: Sequence[tuple[bytes, bytes]] = (
    (rb'("instance":"urn:request:)[^"]*', rb"\1*"),
    (rb"--cutout-[0-9a-f]{32}", rb"--cutout-*"),
    (rb'("matting_ms":)[\d.]+', rb"\1*"),
    (rb'^(\{"id":")[0-9a-f-]{36}("\})$', rb"\1*\2"),
    (rb"(Try again in )\d+( s)", rb"\1*\2"),
)
STEP_TIMES = re.compile(rb'(?<="steps_ms":\{)[^}]*')


@dataclass(frozen=True, slots=True)
class Response:
    """One response; a status of 0 is a connection that failed."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(slots=True)
class Side:
    """One of the two servers, and a client for it."""

    server: Server
    client: httpx.Client
    has_old_slugs: bool = False
    etag: str = ""

    def send(self, request: Request) -> list[Response]:
        """Send a request as often as it says; return the responses, sorted by status if there are several."""
        if self.has_old_slugs:
            for old, new in RENAMED.items():
                request = replace(
                    request, target=request.target.replace(f"/problems/{new}", f"/problems/{old}")
                )
        if request.at_once == 1:
            return [self._send_one(request)]
        with ThreadPoolExecutor(request.at_once) as threads:
            responses = list(threads.map(self._send_one, [request] * request.at_once))
        return sorted(responses, key=lambda response: response.status)

    def _send_one(self, request: Request) -> Response:
        try:
            if request.raw is not None:
                return self._send_raw(request.raw)
            sent = self.client.request(
                request.method,
                f"http://{self.server.host}:{self.server.port}{request.target}",
                content=iter([request.body]) if request.is_chunked else request.body,
                headers=[(name, text.replace(ETAG, self.etag)) for name, text in request.headers],
            )
        except (httpx.HTTPError, HTTPException, OSError) as error:
            return Response(0, body=repr(error).encode())
        self.etag = sent.headers.get("etag", self.etag)
        headers = tuple((name.decode(), text.decode("latin-1")) for name, text in sent.headers.raw)
        return Response(sent.status_code, headers, sent.content)

    def _send_raw(self, raw: bytes) -> Response:
        with socket.create_connection((self.server.host, self.server.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(raw)
            received = HTTPResponse(connection)
            received.begin()
            return Response(received.status, tuple(received.getheaders()), received.read())


@dataclass(slots=True)
class Tally:
    """What was compared."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slugs: set[str] = field(default_factory=set)
    different: int = 0
    documents: int = 0
    lines: int = 0


def main() -> None:
    """Print the differences, and their number."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    add_server_arguments(parser)
    parser.add_argument("--after-model", help="another model after: all pictures should differ")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--only", default="", help="print and compare only requests that contain this text")
    args = parser.parse_args()
    print_machine()
    models = (args.model, args.after_model or args.model)
    side_px = json.loads((args.models_dir / args.model / "manifest.json").read_text())["input_size_px"]
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        folders = [_models(Path(folder, str(index)), args, models[index]) for index in (0, 1)]
        keys = Path(folder, "keys.toml")
        keys.write_text(KEYS)
        for pair in args.pairs:
            requests = limited_requests(args.model)
            if pair == "open":
                own = [*endpoint_requests(args.model), *option_requests()]
                requests = own + dialect_requests(args.model, side_px)
            settings = {"CUTOUT_MODELS": args.model, **SETTINGS, **PAIRS[pair]}
            if pair == "limited":
                settings["CUTOUT_ACCESS__KEYS_FILE"] = str(keys)
            with ExitStack() as stack:
                sides = [
                    _start(stack, root.resolve(), args.model, models_dir, settings)
                    for root, models_dir in zip((args.before, args.after), folders, strict=True)
                ]
                _compare(pair, sides, [each for each in requests if args.only in str(each)], tally)
    print(f"\n{tally.requests} requests; statuses before: {dict(sorted(tally.statuses.items()))}")
    print(f"problem types that were not caused: {sorted({kind.slug for kind in KINDS} - tally.slugs)}")
    print(f"{tally.different} differ in {tally.lines} places; {tally.documents} documents have other texts")
    sys.exit(1 if tally.different else 0)


def _models(folder: Path, args: argparse.Namespace, source: str) -> Path:
    """Build a folder of models: the one to serve, a second one with another name, and a broken one."""
    model = args.models_dir.resolve() / source
    manifest = json.loads((model / "manifest.json").read_text())
    for name in (args.model, "second", "broken"):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text(json.dumps({**manifest, "name": name}))
        if name == "broken":
            (folder / name / "model.onnx").write_bytes(b"broken")
        else:
            (folder / name / "model.onnx").symlink_to(model / "model.onnx")
    return folder


def _start(stack: ExitStack, root: Path, model: str, models_dir: Path, settings: dict[str, str]) -> Side:
    server = stack.enter_context(Server(model, models_dir, settings, command=SERVE_COMMAND, root=root))
    headers = {"User-Agent": "benchmark", "Accept-Encoding": "identity"}
    side = Side(server, stack.enter_context(httpx.Client(timeout=TIMEOUT_S, headers=headers)))
    side.has_old_slugs = side.send(Request(f"/problems/{next(iter(RENAMED))}", "GET"))[0].status == 200
    return side


def _compare(pair: str, sides: Sequence[Side], requests: Sequence[Request], tally: Tally) -> None:
    threads = ThreadPoolExecutor(len(sides))
    for number, request in enumerate(requests):
        all_before, all_after = threads.map(lambda side, sent=request: side.send(sent), sides)
        tally.requests += 1
        is_document = DOCUMENTS.fullmatch(request.target) is not None
        lines: list[str] = []
        has_other_texts = False
        for before, after in zip(all_before, all_after, strict=True):
            tally.statuses[before.status] += 1
            tally.slugs.update(re.findall(r'"/problems/([a-z-]+)"', after.body[:100].decode("latin-1")))
            found = list(differences(_comparable(before, request), _comparable(after, request)))
            if found and is_document and before.status == after.status:
                has_other_texts = True
                found = list(differences(_without_texts(before, request), _without_texts(after, request)))
            lines += found
        for line in lines:
            print(f"{pair} {number} {request}: {line}")
        if has_other_texts and not lines:
            print(f"document: {pair} {number} {request}")
        tally.different += bool(lines)
        tally.documents += has_other_texts and not lines
        tally.lines += len(lines)


def differences(before: Response, after: Response) -> Iterator[str]:
    """Yield a line for each difference."""
    if before.status != after.status:
        yield f"status {before.status} -> {after.status}"
    headers_before, headers_after = (
        [f"{name}: {text}" for name, text in response.headers] for response in (before, after)
    )
    if sorted(headers_before) == sorted(headers_after) and headers_before != headers_after:
        yield f"order of headers: {headers_before} -> {headers_after}"
    elif headers_before != headers_after:
        yield from (
            line for line in difflib.ndiff(headers_before, headers_after) if line.startswith(("- ", "+ "))
        )
    if before.body != after.body:
        pairs = zip(before.body, after.body, strict=False)
        first = next((index for index, (a, b) in enumerate(pairs) if a != b), None)
        start = max(0, (min(len(before.body), len(after.body)) if first is None else first) - 40)
        excerpts = [response.body[start : start + 120] for response in (before, after)]
        sizes = f"{len(before.body)} -> {len(after.body)} bytes"
        yield f"body, {sizes}, from byte {start}: {excerpts[0]!r} -> {excerpts[1]!r}"


def _comparable(response: Response, request: Request) -> Response:
    """Return a response without times and ids, and with the new names for what was renamed."""
    headers = tuple(
        (name, _comparable_header(name.lower(), text, response, request)) for name, text in response.headers
    )
    body = STEP_TIMES.sub(lambda steps: re.sub(rb":[\d.]+", b":*", steps[0]), response.body)
    for number, (times, without) in enumerate(VOLATILE_BODY):
        if number > 0 or not _names_itself(request):
            body = re.sub(times, without, body)
    if response.status >= 400 or DOCUMENTS.fullmatch(request.target):
        body = _with_new_names(body)
    return Response(response.status, headers, body)


def _with_new_names(body: bytes) -> bytes:
    for old, new in (*RENAMED.items(), *RENAMED_OPTIONS.items(), *RENAMED_TITLES.items()):
        body = re.sub(rb"(?<![\w-])" + re.escape(old.encode()) + rb"(?![\w-])", new.encode(), body)
    return body


def _comparable_header(name: str, text: str, response: Response, request: Request) -> str:
    if name == "content-length" and request.method == "HEAD" and response.status >= 400:
        return "of a problem"  # whose title may have changed
    if name == "content-length" and request.method != "HEAD" and text == str(len(response.body)):
        return "of the body"  # the numbers in a body may have other lengths
    if name == "server-timing" and "infer" not in text:
        return "of other steps"  # a cached result is found at an earlier step
    if name == "retry-after" and response.status == 429:
        return "*"
    for volatile, pattern, stand_in in VOLATILE_HEADERS:
        if name == volatile and not (volatile == "x-request-id" and _names_itself(request)):
            text = re.sub(f"^{pattern}$" if pattern == ".*" else pattern, stand_in, text)
    return text


def _names_itself(request: Request) -> bool:
    return any(name == "X-Request-Id" for name, _ in request.headers)


def _without_texts(response: Response, request: Request) -> Response:
    """Return a document's response without its sentences: of the OpenAPI document, the structure is left."""
    comparable = _comparable(response, request)
    headers = tuple(pair for pair in comparable.headers if pair[0].lower() not in ("content-length", "etag"))
    body = b""
    if request.target == "/openapi.json" and response.body and comparable.status == 200:
        document = json.loads(_with_new_names(response.body), object_hook=_without_text_members)
        body = json.dumps(document, indent=1).encode()
    return Response(comparable.status, headers, body)


def _without_text_members(members: dict[str, object]) -> dict[str, object]:
    return {
        name: value
        for name, value in members.items()
        if not (name in TEXT_MEMBERS and isinstance(value, str))
    }


if __name__ == "__main__":
    main()
