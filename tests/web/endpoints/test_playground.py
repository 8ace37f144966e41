"""The playground's page and files: who may read them, with which headers, and that they fit the API."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import httpx
import pytest
from httpx import ASGITransport

from app.main import create_app
from app.options import CutoutOptions, MaskOptions
from app.options_parser import parse_options
from app.settings import Settings
from app.web.endpoints.playground import MEDIA_TYPES, read_files
from tests.page_controls import PAGE, read_controls

ROOT = Path(__file__).parents[3]
OPTIONS = {**MaskOptions.model_fields, **CutoutOptions.model_fields}
PAINTED = {"strokes"}
"""The brushes make these options; all others have a control."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client_of(**settings: Any) -> httpx.AsyncClient:
    """A client of an application without models, which the page does not need."""
    transport = ASGITransport(create_app(Settings(**settings)))
    return httpx.AsyncClient(transport=transport, base_url="http://here")


def links_in(text: str) -> Iterator[str]:
    """Yield the links of a page, a style sheet or a module, relative to it."""
    yield from re.findall(r'(?:src|href|data-sample)="([^"#]+)"', text)
    yield from re.findall(r'^(?:import|} from).*?"(\./[^"]+|\.\./[^"]+)"', text, re.MULTILINE)


@pytest.mark.anyio
async def test_the_page_needs_no_key_and_holds_none() -> None:
    async with client_of(access={"key_hashes": "ab" * 32}) as client:
        page, script = await client.get("/"), await client.get("/page/main.js")
        refused = await client.get("/v1/models")

    assert [page.status_code, script.status_code, refused.status_code] == [200, 200, 401]
    assert page.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.anyio
async def test_the_policy_allows_files_of_this_server_only() -> None:
    async with client_of() as client:
        headers = (await client.get("/")).headers
    rules = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))

    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.anyio
async def test_every_link_leads_to_a_file_of_this_server() -> None:
    async with client_of() as client:
        queue, seen = ["http://here/"], set[str]()
        while queue:
            response = await client.get(url := queue.pop())
            assert (response.status_code, response.headers["x-content-type-options"]) == (200, "nosniff"), url
            seen.add(url)
            is_ours = "/vendor/" not in url and "text" in response.headers["content-type"]
            links = links_in(response.text) if is_ours else ()
            queue += {str(httpx.URL(url).join(link)) for link in links if link != "docs"} - seen - set(queue)
    served = {url.removeprefix("http://here/page/") for url in seen}

    licences = {name for name in read_files() if name.endswith(".txt")}
    assert set(read_files()) - licences - {"index.html"} == served - {"http://here/"}


def test_our_files_have_no_inline_code_and_no_foreign_address() -> None:
    for path in PAGE.rglob("*"):
        if path.is_dir() or "vendor" in path.parts or path.suffix == ".jpg":
            continue
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), path
        assert "innerHTML" not in text, path
    html = (PAGE / "index.html").read_text(encoding="utf-8")

    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*src=)", html)


@pytest.mark.anyio
async def test_an_unchanged_file_is_not_sent_again() -> None:
    async with client_of() as client:
        first = await client.get("/page/main.js")
        tag = first.headers["etag"]
        again = await client.get("/page/main.js", headers={"If-None-Match": f'"other", W/{tag}'})
        changed = await client.get("/page/main.js", headers={"If-None-Match": '"other"'})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (changed.status_code, changed.content) == (200, first.content)


@pytest.mark.anyio
async def test_head_responds_without_a_body() -> None:
    async with client_of() as client:
        head, got = await client.head("/"), await client.get("/")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]
    assert int(head.headers["content-length"]) == len(got.content)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["vendor/README.md", "../playground.py", "%2e%2e/main.py", "main.js/", "", "%00"]
)
async def test_no_other_file_is_served(name: str) -> None:
    async with client_of() as client:
        assert (await client.get(f"/page/{name}")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", "/page/main.js"])
async def test_the_operator_can_take_it_away(path: str) -> None:
    async with client_of(web={"playground": False}) as client:
        response = await client.get(path)

    assert (response.status_code, response.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.anyio
async def test_a_prefix_without_its_slash_is_redirected_to_relative_links() -> None:
    async with client_of(web={"path_prefix": "/a/cutout"}) as client:
        redirect = await client.get("/a/cutout")
        page = await client.get(httpx.URL("http://here/a/cutout").join(redirect.headers["location"]))
        script = await client.get(page.url.join("page/main.js"))

    assert redirect.headers["location"] == "cutout/"
    assert (page.status_code, script.status_code) == (200, 200)


def test_the_licences_of_vendored_files_are_served_with_them() -> None:
    vendored = {name for name in read_files() if name.startswith("vendor/")}
    scripts = {name.removesuffix(".js") for name in vendored if name.endswith(".js")}

    assert scripts == {"vendor/client-zip", "vendor/img-comparison-slider"}
    for script in scripts:
        assert (
            "Permission is hereby granted, free of charge"
            in read_files()[f"{script}.LICENSE.txt"].content.decode()
        )


def test_every_kind_of_file_has_a_media_type() -> None:
    endings = {path.suffix.lstrip(".") for path in PAGE.rglob("*") if path.is_file()}

    assert endings == set(MEDIA_TYPES) | {"md"}


def test_every_option_of_the_api_is_on_the_page() -> None:
    sent = (PAGE / "call.js").read_text(encoding="utf-8")

    assert set(read_controls()) | PAINTED == set(OPTIONS)
    assert all(f'["{name}", ' in sent for name in PAINTED)


@pytest.mark.parametrize(
    "name", sorted(set(OPTIONS) - PAINTED - {"model", "matting", "background", "threshold"})
)
def test_a_control_starts_with_the_default_of_its_option(name: str) -> None:
    default = OPTIONS[name].default
    text = "" if default is None else str(default).lower() if isinstance(default, bool) else f"{default}"

    assert read_controls()[name].default == text


def test_a_default_that_depends_on_the_endpoint_is_left_to_the_server() -> None:
    controls = read_controls()

    assert [controls[name].default for name in ("model", "matting", "threshold")] == ["", "", ""]
    assert controls["background"].default == CutoutOptions().background


@pytest.mark.parametrize(
    "name", [name for name, option in OPTIONS.items() if get_origin(option.annotation) is Literal]
)
def test_every_choice_of_the_api_is_on_the_page(name: str) -> None:
    assert set(get_args(OPTIONS[name].annotation)) <= set(read_controls()[name].choices)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, each in read_controls().items()
        if each.kind == "select"
        for value in each.choices
    ],
)
def test_the_api_accepts_every_choice_of_the_page(name: str, value: str) -> None:
    kind = CutoutOptions if name in CutoutOptions.model_fields else MaskOptions
    more = {"background": "white"} if value == "jpeg" else {}

    assert value == "" or parse_options(kind, {name: value, **more})


def test_every_warning_is_explained_in_plain_words() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs/warnings.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    block = re.search(r"WARNINGS = \{(.*?)\n\};", (PAGE / "report.js").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None

    assert set(documented) <= set(re.findall(r"^  (\w+):", block[1], re.MULTILINE))


def test_modules_are_short() -> None:
    lengths = {
        path.name: path.read_text().count("\n") for path in PAGE.rglob("*.js") if "vendor" not in path.parts
    }

    assert {} == {name: lines for name, lines in lengths.items() if lines > 250}
