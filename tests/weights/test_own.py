import pytest

from app.engine.models.known import OWN as OWN_NAMES
from app.engine.models.known import how_to_add
from app.weights.catalogue import CATALOGUE
from app.weights.own import OWN


def test_each_model_says_what_may_be_done_with_it_and_why() -> None:
    for name, model in OWN.items():
        assert model.name == name
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.commercial in ("yes", "contested", "no", "unclear")
        assert model.basis.startswith("http")
        assert all((model.license, model.authors, model.source, model.purpose))


def test_the_engine_knows_the_same_names() -> None:
    assert set(OWN_NAMES) == set(OWN)
    assert not set(OWN) & set(CATALOGUE)


@pytest.mark.parametrize("name", list(OWN))
def test_a_client_that_asks_for_one_learns_how_the_operator_makes_it(name: str) -> None:
    assert how_to_add(name) == f"The operator can make it, in a checkout: make export MODEL={name}"
