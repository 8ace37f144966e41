"""Base images: the published ones, or stand-ins of Debian's packages where no registry can be reached.

A stand-in has the interface that our files use: ``python`` with ``venv``; ``caddy`` and ``prometheus`` with
the published images' folders and commands. The stand-in for Python gets this machine's configuration of pip
and its certificates, because the build must install packages from where this machine does.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.images.engine import Docker, NoEngine

PYTHON = "python:3.12-slim"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
PULL_S = 300
INSTALL = "RUN apt-get update && apt-get install --yes --no-install-recommends"
RECIPES = {
    "caddy": f"""
{INSTALL} caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
""",
    "prometheus": f"""
{INSTALL} prometheus
RUN mkdir /prometheus && chown 65534 /prometheus
USER 65534
WORKDIR /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
""",
}


def base_image(docker: Docker, published: str) -> str:
    """Return ``published`` if the engine holds it or can pull it, else the name of its stand-in."""
    if docker.has_image(published) or _is_pulled(docker, published):
        return published
    python = _python(docker)
    if published == PYTHON:
        return python
    (kind,) = (kind for kind in RECIPES if kind in published)
    name = f"cutout-test-{kind}"
    docker.run("build", "--network=host", f"--tag={name}", "-", text=f"FROM {python}\n{RECIPES[kind]}")
    return name


def _is_pulled(docker: Docker, name: str) -> bool:
    try:
        return docker.run("pull", name, check=False, timeout_s=PULL_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _python(docker: Docker) -> str:
    """Return Debian with its own Python, made once for each configuration of pip."""
    settings, folders = _pip_configuration()
    suite = _debian_release()
    made_from = [suite, PACKAGES, settings, [str(each) for each in folders]]
    name = f"cutout-test-python:{hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:12]}"
    if docker.has_image(name):
        return name
    with _debian(suite) as root:
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        (root / "etc/pip.conf").write_text(settings, encoding="utf-8")
        if Path("/", CERTIFICATES).exists():
            shutil.copy(Path("/", CERTIFICATES), root / CERTIFICATES)
        for folder in folders:
            shutil.copytree(folder, root / str(folder).lstrip("/"))
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
            subprocess.run(
                [docker.program, "import", "-", name],
                stdin=archive.stdout,
                env=docker.environment,
                check=True,
                capture_output=True,
            )
    return name


def _pip_configuration() -> tuple[str, list[Path]]:
    """Return this machine's pip settings as a file, and the folders of packages that they name.

    Local indexes are left out: they are copies of what the package index has.
    """
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    values: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install", ":env:") and key not in ("constraint", "no-index"):
            words = [word for word in value.strip("'").split() if not word.startswith("file:")]
            values[key.lstrip(".")] = " ".join(words)
    links = [Path(word) for word in values.get("find-links", "").split() if Path(word).is_dir()]
    return "\n".join(
        ["[global]", *(f"{key} = {value}" for key, value in sorted(values.items()) if value)]
    ), links


def _debian_release() -> str:
    return (
        platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm") if _is_debian() else "bookworm"
    )


def _is_debian() -> bool:
    return platform.freedesktop_os_release().get("ID") == "debian"


@contextmanager
def _debian(suite: str) -> Iterator[Path]:
    """Yield the root folder of a small Debian with Python."""
    if (program := shutil.which("debootstrap")) is None or os.geteuid() != 0:
        raise NoEngine("no base image can be pulled, and its stand-in needs root and debootstrap")
    with tempfile.TemporaryDirectory(prefix="cutout-base-") as folder:
        root = Path(folder, "root")
        command = [program, "--variant=minbase", f"--include={PACKAGES}", suite, str(root), *_mirror(suite)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise NoEngine(f"no base image can be pulled, and Debian neither: {done.stdout[-600:]}")
        yield root


def _mirror(suite: str) -> list[str]:
    """Return the mirror that apt reads on this machine, if it has that release."""
    if shutil.which("apt-get") is None:
        return []
    fields = "$(SUITE) $(CODENAME) $(REPO_URI)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
        capture_output=True,
        text=True,
    )
    for line in listed.stdout.splitlines():
        *releases, address = line.split()
        if suite in releases and "security" not in address:
            return [address]
    return []
