"""Result cache: returns recent results again, each only to the API key that it was computed for.

The entity tag identifies pictures, options, model and precision. The cache key also contains the name of the
API key, so that no client can find out what other clients have sent.
"""

import hashlib
from dataclasses import replace

from app.engine.capacity.cache import Cache
from app.pipeline.context import RequestContext
from app.pipeline.values import ImageRequest, NotModified, Result, extra_pictures


class ResultCache:
    """Holds the results of recent requests, within a limit of bytes. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._cache: Cache[Result] = Cache(limit_bytes)

    def find(self, etag: str, context: RequestContext) -> Result | NotModified | None:
        """Return the result with an entity tag, or ``NotModified`` if the caller already has it."""
        if etag in context.known_etags:
            return NotModified(etag)
        return self.recall(etag, context.key_name)

    def recall(self, etag: str, key_name: str) -> Result | None:
        """Return the result with an entity tag that was computed for an API key."""
        result = self._cache.get(_cache_key(etag, key_name))
        return None if result is None else replace(result, is_cached=True)

    def keep(self, result: Result, context: RequestContext) -> None:
        """Store a result, unless a step ran out of time: the next run may give a better one."""
        if not result.info.is_cut_short:
            key = _cache_key(result.info.etag, context.key_name)
            self._cache.put(key, result, size_bytes=result.size_bytes)


def _cache_key(etag: str, key_name: str) -> str:
    return f"{key_name}/{etag}"


def etag_of(request: ImageRequest, sha256: str) -> str:
    """Return the strong entity tag of an admitted request: a hash of its pictures, options and graph.

    Args:
        request: The request, with the digests of its pictures.
        sha256: Of the graph that is served: a model has one for each precision, since their maps differ.
    """
    assert request.picture.digest is not None  # noqa: S101 - admitted
    digest: hashlib._Hash = request.picture.digest.copy()
    options = request.options
    digest.update(f"{type(options).__name__}{options.model_dump_json()}{sha256}".encode())
    for role, source in extra_pictures(request).items():
        assert source.digest is not None  # noqa: S101 - admitted
        digest.update(role.encode() + source.digest.digest())
    return digest.hexdigest()[:32]
