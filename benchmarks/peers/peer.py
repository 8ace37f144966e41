"""Peer: what the comparison must know about a server: how to install it, start it and send it a picture.

Each module of this package whose name is a peer's has one ``PEER``. A peer runs in an environment of its own,
which ``environments.py`` makes, and is started as its documentation describes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from benchmarks.client import Client, Shot

OPERATIONS = ("cutout", "mask", "matted")
"""A cutout without matting, the mask alone, and a cutout with the peer's alpha matting."""
MODELS = ("u2netp", "u2net")
PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a peer.

    ``python`` is the interpreter of its environment, ``weights`` the folder with the published ``NAME.onnx``,
    ``models_dir`` the folder of exported models, ``scratch`` an empty folder that is deleted afterwards.
    ``precision`` is a value of ``CUTOUT_PRECISION``, or ``None`` for the server's default.
    """

    python: Path
    model: str
    weights: Path
    models_dir: Path
    scratch: Path
    port: int
    precision: str | None = None

    @property
    def weights_file(self) -> Path:
        """The published weights of the model."""
        return self.weights / f"{self.model}.onnx"

    def script(self, name: str) -> str:
        """Return the path of a command that is installed in the peer's environment."""
        return str(self.python.with_name(name))


def _no_environment(_: Launch) -> dict[str, str]:
    return {}


def _prepare_nothing(_: Launch) -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to compare.

    Attributes:
        name: Its name in options and tables.
        requirements: What each ``pip install`` gets, in this order; empty for this project.
        description: What its cutout and its matting do, for the report.
        command: Returns the command that starts it.
        environment: Returns the environment variables that it needs in addition to the benchmark's.
        prepare: Puts weights where the peer looks for them.
        ready_path: GET of this path has the status ``ready_status`` as soon as it can serve.
        ready_status: Usually 200.
        request: Returns the request of an operation for a model and an upload, or ``None`` if it has none.
        models: The models that it can run with the same weights.
        client: Sends a picture and returns its result; a peer that takes several requests has its own.
    """

    name: str
    requirements: tuple[str, ...]
    description: str
    command: Callable[[Launch], tuple[str, ...]]
    ready_path: str
    request: Callable[[str, str, bytes], Shot | None]
    environment: Callable[[Launch], dict[str, str]] = _no_environment
    prepare: Callable[[Launch], None] = _prepare_nothing
    models: tuple[str, ...] = MODELS
    ready_status: int = 200
    client: type[Client] = Client


def form(path: str, fields: dict[str, str], *, file_field: str, upload: bytes) -> Shot:
    """Return the request of a multipart form with text fields and one JPEG file."""
    boundary = uuid4().hex
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{file_field}"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    body = head.encode() + upload + f"\r\n--{boundary}--\r\n".encode()
    return Shot(path, body, (("Content-Type", f"multipart/form-data; boundary={boundary}"),))


def link_weights(launch: Launch, folder: Path, name: str | None = None) -> None:
    """Link the published weights of the model into ``folder``, as ``NAME.onnx`` or under another name."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (name or launch.weights_file.name)
    if not target.exists():
        target.symlink_to(launch.weights_file.resolve())
