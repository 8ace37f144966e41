"""The comparison with other servers: its arithmetic, its client, its table, and what each peer must have."""

import asyncio
import email
import itertools
import json
import math
import sys
from dataclasses import replace
from email.policy import HTTP
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.client import Client, Reply, Shot
from benchmarks.load import percentile
from benchmarks.peers.intervals import MAX_ROUNDS, Estimate, estimate, median, pooled_percentile
from benchmarks.peers.measure import Case, Round, measure_round
from benchmarks.peers.peer import OPERATIONS, PROGRAMS, Launch, Peer
from benchmarks.peers.process import NotStarted, PeerProcess, free_port, is_running, process_tree
from benchmarks.peers.registry import PEERS
from benchmarks.peers.report import (
    HEADER,
    case_of,
    latency,
    markdown,
    ratio,
    rounds_of,
    table_rows,
    throughput,
    to_json,
    verdict,
)
from benchmarks.peers.uploads import detail, upload_of
from benchmarks.pictures import jpeg_photo

ROOT = Path(__file__).parents[1]
CASE = Case("u2netp", "cutout", 1.0, clients=8)
SERVER = """
import http.server, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
    do_POST = do_GET
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A server with a child process, which closes each connection after its response."""
SECONDS = st.floats(0.001, 100, allow_nan=False)


def a_round(latencies_s: tuple[float, ...], elapsed_s: float = 2.0, failed: int = 0) -> Round:
    statuses = {"200": len(latencies_s), **({"503": failed} if failed else {})}
    return Round(latencies_s, statuses, elapsed_s, cpu_s=1.0, peak_bytes=300_000_000)


def rows_of(*measured: tuple[str, list[Round]]) -> list[dict[str, str]]:
    rows = table_rows(to_json(CASE, name, rounds) for name, rounds in measured)
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


@given(st.lists(SECONDS, min_size=1, max_size=60), st.integers(1, 100))
def test_a_percentile_is_numpys(values: list[float], percent: int) -> None:
    assert np.percentile(values, percent, method="inverted_cdf") == percentile(values, percent)


@pytest.mark.parametrize("values", [[2.0], [1.0, 3.0], [5.0, 1.0, 4.0], [0.7, 0.9, 0.8, 2.5, 0.85]])
def test_an_interval_is_that_of_all_draws_in_every_order(values: list[float]) -> None:
    """The oracle draws every ordered sample, and takes numpy's quantiles of the medians."""
    draws = [np.median(draw) for draw in itertools.product(values, repeat=len(values))]

    result = estimate(values, median)

    assert np.median(values) == result.value
    expected = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    assert expected.tolist() == pytest.approx([result.low, result.high])


def test_a_latency_pools_the_requests_of_the_drawn_rounds() -> None:
    rounds = [a_round(values) for values in ((1.0, 2.0, 9.0), (1.5,), (0.5, 0.6, 0.7, 4.0))]
    pools = itertools.product([each.latencies_s for each in rounds], repeat=3)
    draws = [np.percentile(np.concatenate(pool), 95, method="inverted_cdf") for pool in pools]

    result = latency(rounds, 95)

    assert 9.0 == result.value
    assert np.quantile(draws, [0.025, 0.975], method="inverted_cdf").tolist() == [result.low, result.high]


def test_no_rounds_give_no_figure_and_too_many_are_refused() -> None:
    assert math.isnan(estimate([], median).value)
    with pytest.raises(ValueError, match="at most 8"):
        estimate([1.0] * (MAX_ROUNDS + 1), median)


def test_rounds_without_a_success_have_no_latency() -> None:
    assert math.isnan(pooled_percentile(50)([(), ()]))
    assert math.isnan(latency([a_round((), failed=3)], 50).value)


def test_throughput_counts_successes_until_the_last_response() -> None:
    rounds = [a_round((0.5, 0.5, 1.0), elapsed_s=2.0, failed=9), a_round((1.0,), elapsed_s=4.0)]

    assert [1.5, 0.25] == [each.throughput for each in rounds]
    assert (1.5 + 0.25) / 2 == throughput(rounds).value


def test_a_ratio_compares_the_same_rounds() -> None:
    """A slow minute hits both servers of a round, so the ratio of the medians would be wrong here."""
    ours = [a_round((1.0,) * count) for count in (40, 20, 8)]
    theirs = [a_round((1.0,) * count) for count in (20, 10, 4)]

    assert Estimate(2.0, 2.0, 2.0) == ratio(ours, theirs)


@pytest.mark.parametrize(
    ("compared", "expected"),
    [((1.5, 1.2, 1.9), "ours"), ((1.1, 0.9, 1.3), "even"), ((0.8, 0.7, 0.95), "**peer**")],
)
def test_a_verdict_needs_an_interval_without_1(compared: tuple[float, float, float], expected: str) -> None:
    assert expected == verdict(Estimate(*compared))


def test_a_row_in_which_a_peer_is_ahead_says_so() -> None:
    slow, fast = [a_round((1.0, 1.0))] * 3, [a_round((0.5,) * 4)] * 3

    ours, theirs = rows_of(("rembg", fast), ("cutout", slow))

    assert ("cutout", "", "") == (ours["peer"], ours["ours : peer"], ours["ahead"])
    assert ("rembg", "0.50 (0.50 to 0.50)", "**peer**") == tuple(
        theirs[name] for name in ("peer", "ours : peer", "ahead")
    )


def test_a_row_counts_what_failed_by_status() -> None:
    (row,) = rows_of(("plain", [a_round((0.25, 0.5), failed=3), a_round((0.25,))]))

    assert "503: 3 of 6" == row["errors"]
    assert "0.25 (0.25 to 0.25)" == row["p50, s"]
    assert ("300", "0.75") == (row["peak RSS, MB"], row["CPU s"])


def test_a_peer_without_a_success_is_infinitely_slower_and_prints() -> None:
    row = rows_of(("cutout", [a_round((1.0,))] * 3), ("rembg", [a_round((), failed=2)] * 3))[1]

    assert ("–", "∞ (∞ to ∞)", "ours") == (row["p50, s"], row["ours : peer"], row["ahead"])


def test_two_rounds_are_too_few_for_a_verdict() -> None:
    row = rows_of(("cutout", [a_round((1.0,))] * 2), ("rembg", [a_round((1.0,) * 2)] * 2))[1]

    assert ("0.50 (0.50 to 0.50)", "too few rounds") == (row["ours : peer"], row["ahead"])


def test_a_peer_that_is_absent_is_reported_with_its_reason() -> None:
    header = {"machine": "m", "rounds": 1, "seconds": 2.0, "pictures": {"1": "1 MB, synthetic"}, "peers": []}
    absent = [{"peer": "withoutbg", "model": None, "reason": "its weights | are\nnot in the package index"}]

    text = markdown({**header, "absent": absent, "measured": []})

    assert "| withoutbg | all | its weights / are not in the package index |" in text.splitlines()


@pytest.mark.parametrize("name", list(PEERS))
def test_a_peer_has_what_is_needed(name: str, tmp_path: Path) -> None:
    peer = PEERS[name]
    launch = Launch(Path("env/bin/python"), "u2netp", tmp_path, tmp_path, tmp_path / "new", port=12345)

    assert name == peer.name
    assert peer.ready_path.startswith("/")
    assert peer.description
    assert set(peer.models) <= {"u2netp", "u2net"}
    assert any("12345" in part for part in (*peer.command(launch), *peer.environment(launch).values()))
    assert all(requirement.strip() for requirement in peer.requirements)
    assert (name == "cutout") == (not peer.requirements)
    assert f"`{name}`" in (ROOT / "docs" / "peers.md").read_text()


@pytest.mark.parametrize("name", list(PEERS))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_peers_requests_have_the_whole_upload(name: str, operation: str) -> None:
    upload = jpeg_photo(0.01)
    shot = PEERS[name].request(operation, "u2netp", upload)

    if shot is None:
        assert operation in ("mask", "matted")
        return
    assert shot.path.startswith("/")
    assert upload in parts_of(shot)


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.name)
def test_a_program_of_a_peer_compiles(path: Path) -> None:
    compile(path.read_text(), path.name, "exec")


def test_the_camera_picture_has_detail_at_every_size() -> None:
    sizes = {megapixels: upload_of(megapixels) for megapixels in (0.1, 1.0)}

    assert all(
        megapixels * 0.95e6 < np.prod(each.size) < megapixels * 1.05e6 for megapixels, each in sizes.items()
    )
    assert all(3 < detail(each.encoded) < 12 for each in sizes.values())


def test_a_photograph_is_shrunk_and_never_enlarged(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg_photo(0.4))

    assert ("photograph of 0.4 megapixels", "synthetic") == tuple(
        upload_of(megapixels, tmp_path).origin for megapixels in (0.1, 0.5)
    )


@pytest.mark.process
@pytest.mark.parametrize(
    ("response", "is_kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
            True,
        ),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", False),
    ],
)
def test_the_client_reads_bodies_in_every_framing(response: bytes, *, is_kept: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nupload")
        writer.write(response)
        if not is_kept:
            writer.close()

    async def exchange() -> tuple[Reply, bool]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client("127.0.0.1", server.sockets[0].getsockname()[1])
        reply = await client.post(Shot("/", b"upload"))
        await asyncio.sleep(0)
        await client.close()
        server.close()
        return reply, reply.headers.get("connection", "").lower() != "close"

    reply, kept = asyncio.run(exchange())

    assert (200, b"hello", is_kept) == (reply.status, reply.body, kept)


@pytest.mark.process
@pytest.mark.slow
def test_a_peer_process_is_measured_and_ended_with_its_children(tmp_path: Path) -> None:
    peer = replace(
        PEERS["plain"],
        command=lambda launch: (sys.executable, "-c", SERVER, str(launch.port)),
        ready_path="/",
    )
    with process_of(peer, tmp_path) as process:
        tree = process_tree(process.process.pid)

        ((case, name, measured),) = measure_round([process], [CASE], lambda _: b"picture", 0.2, 0)

        assert 2 == len(tree)
        assert process.cpu_s() > 0
        assert (CASE, "plain") == (case, name)
        assert {"200"} == set(measured.statuses)
        stored = json.loads(json.dumps(to_json(case, name, [measured])))
        assert (CASE, [measured]) == (case_of(stored), rounds_of(stored))

    assert not [pid for pid in tree if is_running(pid)]


@pytest.mark.process
@pytest.mark.slow
def test_a_peer_that_does_not_start_says_why(tmp_path: Path) -> None:
    peer = replace(PEERS["plain"], command=lambda _: (sys.executable, "-c", "raise SystemExit('no weights')"))

    with pytest.raises(NotStarted, match="no weights"), process_of(peer, tmp_path):
        pass


def process_of(peer: Peer, folder: Path) -> PeerProcess:
    launch = Launch(Path(sys.executable), "u2netp", folder, folder, folder, port=free_port())
    return PeerProcess(peer, launch, max_bytes=2**33)


def parts_of(shot: Shot) -> list[bytes]:
    """Return the body of a request, or the parts of its form."""
    kind = dict(shot.headers)["Content-Type"]
    if not kind.startswith("multipart/"):
        return [shot.upload]
    message = email.message_from_bytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + shot.upload, policy=HTTP
    )
    return [part.get_payload(decode=True) for part in message.iter_parts()]  # type: ignore[attr-defined]
