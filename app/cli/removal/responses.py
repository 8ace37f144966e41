"""Responses: what a server returned becomes a result, or a problem that says why it is none."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx

from app.cli.removal.values import Problem, Processed, Rejected

JSON = "application/json"


def processed_from(response: httpx.Response) -> Processed:
    """Return the result in a response with an image or with JSON.

    Raises:
        Rejected: The JSON is not that of a result.
    """
    headers = response.headers
    media_type = media_type_of(response)
    processed = Processed(
        response.content,
        media_type,
        model=headers.get("x-cutout-model", ""),
        provider=headers.get("x-cutout-provider", ""),
        precision=headers.get("x-cutout-precision", ""),
        verdict=headers.get("x-cutout-verdict", ""),
        warnings=tuple(filter(None, headers.get("x-cutout-warnings", "").split(", "))),
        steps_ms=dict(_durations(headers.get("server-timing", ""))),
    )
    if media_type != JSON:
        return processed
    try:
        body: Mapping[str, Any] = response.json()
        return replace(
            processed,
            encoded=base64.b64decode(body["image"]),
            media_type=body["media_type"],
            mask=base64.b64decode(body["mask"]) if "mask" in body else None,
            size_px=(body["width_px"], body["height_px"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(no_result(response)) from error


def media_type_of(response: httpx.Response) -> str:
    """Return the media type of a response, without parameters; empty if there is none."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def no_result(response: httpx.Response) -> Problem:
    """Return the problem of a response that is a success, but not the requested result."""
    kind = media_type_of(response) or "no content type"
    text = f"The response ({kind}, {len(response.content)} bytes) is not the result that was requested."
    return Problem("http-error", "Unexpected response", text)


def problem_of(response: httpx.Response) -> Problem:
    """Return the problem that a response describes; for a proxy's page, its status."""
    try:
        body = response.json()
        return Problem(body["type"].rpartition("/")[2], body["title"], body["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = f"The server responded with {response.status_code} {response.reason_phrase}."
        return Problem("http-error", "Unexpected response", text)


def _durations(server_timing: str) -> Iterator[tuple[str, float]]:
    for part in server_timing.split(","):
        name, _, text = part.strip().partition(";dur=")
        try:
            yield name, float(text)
        except ValueError:  # no duration, or a proxy's own entry
            continue
