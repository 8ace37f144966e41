"""Upload clients: HTTP clients in several languages that upload files; used by ``benchmarks.refused``."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

NODE = """
const [url, size, key, tries] = process.argv.slice(2);
const blob = new Blob([new Uint8Array(Number(size)).fill(7)], {type: "image/jpeg"});
for (let i = 0; i < Number(tries); i++) {
  const form = new FormData();
  form.append("image", blob, "a.jpg");
  try {
    const response = await fetch(url, {method: "POST", body: form, headers: {"X-Api-Key": key}});
    await response.text();
    console.log(response.status);
  } catch (error) { console.log(0, error.cause?.code ?? error.message); }
}
"""
JAVA = """
import java.net.URI;
import java.net.http.*;
public class Refused {
  public static void main(String[] args) throws Exception {
    var client = HttpClient.newHttpClient();
    for (int i = 0; i < Integer.parseInt(args[3]); i++) {
      var request = HttpRequest.newBuilder(URI.create(args[0])).header("X-Api-Key", args[2])
        .header("Content-Type", "image/jpeg")
        .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[Integer.parseInt(args[1])])).build();
      try { System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode()); }
      catch (java.io.IOException error) { System.out.println("0 " + error); }
    }
  }
}
"""
REQUESTS = """
import sys, {library} as library
url, size, key, tries = sys.argv[1:]
for _ in range(int(tries)):
    try:
        files = {{"image": ("a.jpg", bytes(int(size)), "image/jpeg")}}
        print(library.post(url, files=files, headers={{"X-Api-Key": key}}, timeout=60).status_code)
    except Exception as error:
        print(0, type(error).__name__)
"""
CROWD = """
import asyncio, sys
host, port, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
HEAD = b"POST /v1/cutout HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 8000000\\r\\n\\r\\n"
sent = read = 0
async def upload(ends_s):
    global sent, read
    loop = asyncio.get_running_loop()
    while loop.time() < ends_s:
        sent += 1
        try:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(HEAD)
            for _ in range(80):
                writer.write(bytes(100_000))
                await writer.drain()
            response = await reader.read()
            read += response.startswith(b"HTTP/1.1 401 ")
            writer.close()
        except OSError as error:
            print(type(error).__name__, file=sys.stderr)
async def main():
    ends_s = asyncio.get_running_loop().time() + 18
    await asyncio.gather(*(upload(ends_s) for _ in range(at_once)))
    print(sent, read)
asyncio.run(main())
"""
"""A program that uploads 8 MB without a key on many connections for 18 s, and prints uploads and 401s."""


def upload_clients(folder: Path) -> dict[str, Callable[[str, int, str, int], list[list[str]]]]:
    """Return the installed clients: the commands for a URL, a size, a key and a number of tries."""

    def single_process(*command: str) -> Callable[[str, int, str, int], list[list[str]]]:
        return lambda url, size_bytes, key, tries: [[*command, url, str(size_bytes), key, str(tries)]]

    def curl(*extra: str) -> Callable[[str, int, str, int], list[list[str]]]:
        def commands(url: str, size_bytes: int, key: str, tries: int) -> list[list[str]]:
            body = folder / str(size_bytes)
            body.write_bytes(bytes(size_bytes))
            form = f"image=@{body};type=image/jpeg"
            options = ("-s", "-o", "/dev/null", "-w", "%{http_code} %{errormsg}\n")
            return [["curl", *options, *extra, "-H", f"X-Api-Key: {key}", "-F", form, url]] * tries

        return commands

    clients = {
        library: single_process(sys.executable, "-c", REQUESTS.format(library=library))
        for library in ("httpx", "requests")
        if _is_installed(library)
    }
    if shutil.which("curl"):
        clients["curl"], clients["curl, not waiting"] = curl(), curl("-H", "Expect:")
    if shutil.which("node"):
        (folder / "refused.mjs").write_text(NODE)
        clients["node fetch"] = single_process("node", str(folder / "refused.mjs"))
    if shutil.which("javac"):
        (folder / "Refused.java").write_text(JAVA)
        subprocess.run(["javac", "-d", str(folder), str(folder / "Refused.java")], check=True)
        clients["Java HttpClient"] = single_process("java", "-cp", str(folder), "Refused")
    return clients


def run_all(commands: list[list[str]]) -> list[str]:
    """Run commands one by one; return their output, a line per upload: a status, or 0 and an error."""
    lines: list[str] = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        lines += [line for line in done.stdout.splitlines() if line.strip()] or [f"0 {done.stderr[-80:]}"]
    return lines


def _is_installed(library: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {library}"], capture_output=True).returncode == 0
