"""Engine: the Docker engine of this machine, or one that is started for the tests.

Rule 1: An engine that runs is used and left running; its images stay, so that the next run is fast.
Rule 2: Otherwise root starts the installed ``dockerd`` on a socket of its own, below ``FOLDER``.
Rule 3: Nothing is installed here: without an engine the tests skip and say what is missing.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path("/var/tmp/cutout-engine")
COMPOSE_PLUGINS = ("~/.docker", "/usr/local/lib/docker", "/usr/lib/docker", "/usr/libexec/docker")


class NoEngine(Exception):
    """There is no engine, and none can be started; the message says why."""


class Docker:
    """The command line of an engine."""

    def __init__(self, program: str, host: str | None) -> None:
        self.program = program
        self.environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
        if host is not None:
            self.environment["DOCKER_HOST"] = host

    def run(
        self, *arguments: str, check: bool = True, timeout_s: float = 1800, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; its output is captured and shown when it fails."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=text,
        )
        assert done.returncode == 0 or not check, f"{arguments}\n{(done.stdout + done.stderr)[-2000:]}"
        return done

    def output(self, *arguments: str) -> str:
        """Return what a command prints."""
        return self.run(*arguments).stdout.strip()

    def has_image(self, name: str) -> bool:
        """Return whether the engine holds an image."""
        return self.run("image", "inspect", name, check=False).returncode == 0


@contextmanager
def docker_engine() -> Iterator[Docker]:
    """Yield a working engine; one that was started here is stopped at the end."""
    programs = [path for path in map(_which, ("docker", "/usr/bin/docker")) if path and _has_buildkit(path)]
    if not programs:
        raise NoEngine("there is no docker command with BuildKit (Debian: apt-get install docker.io)")
    for host in (None, f"unix://{FOLDER}/docker.sock"):
        docker = Docker(programs[0], host)
        if _responds(docker):
            yield docker
            return
    daemon = _start()
    try:
        _wait_for(docker, daemon)
        yield docker
    finally:
        daemon.terminate()
        daemon.wait(60)


def compose_programs() -> dict[str, list[str]]:
    """Return the installed compose programs by major version."""
    found: dict[str, list[str]] = {}
    plugins = [Path(folder).expanduser() / "cli-plugins/docker-compose" for folder in COMPOSE_PLUGINS]
    for path in [*(str(each) for each in plugins if each.exists()), shutil.which("docker-compose")]:
        if path is not None:
            version = subprocess.run([path, "version", "--short"], capture_output=True, text=True)
            found.setdefault(version.stdout.strip().removeprefix("v").partition(".")[0], [path])
    return found


def _which(name: str) -> str | None:
    return shutil.which(name)


def _has_buildkit(program: str) -> bool:
    """Return whether a client can build with BuildKit: since version 23 it needs a plugin for that."""
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    major = int(version.removeprefix("Docker version ").partition(".")[0])
    return major < 23 or subprocess.run([program, "buildx", "version"], capture_output=True).returncode == 0


def _responds(docker: Docker) -> bool:
    return docker.run("version", "--format", "{{.Server.Version}}", check=False).returncode == 0


def _start() -> subprocess.Popen[bytes]:
    if os.geteuid() != 0:
        raise NoEngine("no Docker engine runs, and only root can start one")
    if (daemon := shutil.which("dockerd")) is None:
        raise NoEngine("no Docker engine runs, and dockerd is not installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [daemon, "--host", f"unix://{FOLDER}/docker.sock", "--data-root", str(FOLDER / "data")]
    command += ["--exec-root", str(FOLDER / "exec"), "--pidfile", str(FOLDER / "dockerd.pid")]
    with (FOLDER / "dockerd.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _wait_for(docker: Docker, daemon: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + 60
    while not _responds(docker):
        if daemon.poll() is not None or time.monotonic() > until_s:
            log = (FOLDER / "dockerd.log").read_text(encoding="utf-8", errors="replace")
            raise NoEngine(f"dockerd does not start here: {log[-600:]}")
        time.sleep(0.5)
