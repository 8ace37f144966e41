"""The page of the contract: it loads nothing from elsewhere."""

import re

from tests.web.conftest import Live


def test_every_file_of_the_page_comes_from_this_server(live: Live) -> None:
    page = live.client.get("/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert len(links) == 4
    for link in links:
        answer = live.client.get(link)
        assert (200, "nosniff") == (answer.status_code, answer.headers["x-content-type-options"])
        assert len(answer.content) > 50
    assert "default-src 'none'; script-src 'self';" in page.headers["content-security-policy"]
    assert "sandbox" in live.client.get("/docs/start.js").headers["content-security-policy"]


def test_nothing_else_is_to_be_had_there(live: Live) -> None:
    for name in (
        "redoc.standalone.js",
        "..%2Fcore.py",
        "../core.py",
        "core.py",
        "%00",
        "swagger-ui.css/",
    ):
        assert live.client.get(f"/docs/{name}").status_code == 404, name


def test_the_page_starts_with_the_contract_of_this_server(live: Live) -> None:
    assert '"/openapi.json"' in live.client.get("/docs/start.js").text
