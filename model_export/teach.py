"""Teach: an exported model becomes the teacher of a set; its soft maps are stored next to the pictures.

    python -m model_export teach u2net --data DIR

The maps are the raw saliency of the model's float32 graph, at the network's size, as 8-bit grey PNGs in
``DIR/teacher/``. Repeating the command continues where it stopped.
"""

from pathlib import Path

from PIL import Image
from rich.console import Console

from app.engine.models.manifest import read_manifest, read_model
from app.onnx_import.runner import Runner
from model_export.datasets import read_picture, resize_to_square, teacher_folder
from model_export.errors import CommandFailed
from model_export.progress_display import with_progress
from model_export.samples import Part, find_samples


def teach(
    model: str, data: Path, models_dir: Path, *, part: Part = "TR", console: Console | None = None
) -> Path:
    """Write a teacher's map for every picture that has none, and return their folder.

    Args:
        model: The name of an exported model.
        data: A set of pictures and masks, in any layout.
        models_dir: The folder of models.
        part: Which of DUTS-TR and DUTS-TE to take if the folder has both.
        console: For progress.

    Raises:
        ModelUnavailable: The model is missing, or does not match its manifest.
        RunFailed: The runtime cannot load or run its graph.
        SamplesInvalid: The folder is not a set, or a picture cannot be read.
        CommandFailed: The maps are in an archive already.
    """
    console = console or Console(stderr=True, soft_wrap=True, highlight=False)
    samples = find_samples(data, part=part).samples
    folder = teacher_folder(data)
    if folder.with_suffix(".zip").is_file():
        raise CommandFailed(
            f"{folder.with_suffix('.zip')} has teacher maps already; remove it to teach again."
        )
    manifest = read_manifest(models_dir / model)
    graph = Runner.load(read_model(models_dir / model, manifest))
    folder.mkdir(exist_ok=True)
    missing = [sample for sample in samples if not (folder / f"{sample.name}.png").is_file()]
    for sample in with_progress(console, missing, total=len(missing), title=f"teaching by {model}"):
        square = resize_to_square(read_picture(sample.picture), manifest.input_size_px)
        saliency = graph.run(square[None])[0][0]
        part_path = folder / f".{sample.name}.png.part"
        Image.fromarray((255 * saliency).round().astype("uint8")).save(part_path, "PNG")
        part_path.replace(folder / f"{sample.name}.png")
    return folder
