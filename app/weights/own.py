"""Own: the networks that were trained in this project, and what may be done with them.

Their weights are part of the repository, in half precision, as a checkpoint of the training run
(``model_export/trained``). Making the served graph of one needs torch: ``make export MODEL=NAME``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.weights.catalogue import Commercial


@dataclass(frozen=True, slots=True)
class OwnModel:
    """One network.

    Attributes:
        name: Of the model.
        sha256: Of the checkpoint in the repository.
        license: Of the weights.
        authors: The people who trained it.
        source: The data and weights that it was made from, with their terms.
        purpose: What it is for, as a phrase.
        commercial: Whether its weights may be used commercially.
        basis: The public place that ``commercial`` rests on.
        uncertain_from: The network's threshold of the verdict (``docs/verdict.md``).
    """

    name: str
    sha256: str
    license: str
    authors: str
    source: str
    purpose: str
    commercial: Commercial
    basis: str
    uncertain_from: float | None = None


_OWN = (
    OwnModel(
        "lite",
        sha256="d51fc95a2791f98f69e5e045153a0d0d8640ddb6968439ca61062c78f764447e",
        license="Apache-2.0",
        authors="the authors of Cutout",
        source="trained in this project on DUTS-TR (for research) with u2net (Apache-2.0) as teacher; its "
        "encoder began as EfficientNet-Lite0 (Apache-2.0, ImageNet)",
        purpose="the salient object of any photograph, fast on a CPU",
        commercial="unclear",
        basis="http://saliencydetection.net/duts/",
    ),
)
OWN: Mapping[str, OwnModel] = {model.name: model for model in _OWN}
"""All of them by name."""
