from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pe_deploy import ExportError, ModelConfig, ParityError
from pe_deploy.bundle.artifacts import TORCHSCRIPT
from pe_deploy.bundle.bundle import Bundle, open_bundle
from pe_deploy.export import ExportOptions, Source, export_module, to_torchscript
from pe_deploy.export.options import FORMATS, USUAL_FORMATS
from pe_deploy.mutation.faults import FAULTS, PLACES, Fault
from pe_deploy.mutation.outcomes import Outcome
from pe_deploy.mutation.run import CHECKS, self_test
from pe_deploy.mutation.subject import Subject
from pe_deploy.parity import CHECKS as PARITY_CHECKS
from pe_deploy.training import GRUClassifier

HAS_CC = shutil.which("cc") is not None


@pytest.fixture(scope="module")
def classes_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """17 ids, 10 classes: the sizes of digits, made small. In C, too, where that can be proved."""
    config = ModelConfig(17, 14, embedding_dim=8, hidden_dim=16, num_classes=10)
    labels, formats = tuple(f"class {n}" for n in range(10)), FORMATS if HAS_CC else USUAL_FORMATS
    return exported(tmp_path_factory, config, labels, None, formats)


@pytest.fixture(scope="module")
def rare_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A threshold that no row comes near, so labels hide faults; random rows miss most ids."""
    config = ModelConfig(20_000, 8, embedding_dim=8, hidden_dim=12)
    return exported(tmp_path_factory, config, (0, 1), 0.99)


def exported(
    tmp_path_factory: pytest.TempPathFactory,
    config: ModelConfig,
    labels: tuple[int | str, ...],
    threshold: float | None,
    formats: Sequence[str] = USUAL_FORMATS,
) -> Bundle:
    torch.manual_seed(0)
    model = GRUClassifier(config).eval()
    source = Source(model, config.signature, labels, threshold, config.to_dict())
    place = tmp_path_factory.mktemp("self-test") / "bundle"
    return export_module(source, place, ExportOptions(formats, crossover=24)).bundle


def fault(name: str) -> Fault:
    return next(fault for fault in FAULTS if fault.name == name)


def assert_all_caught(
    outcomes: tuple[Outcome, ...], not_planted: set[str], in_c: bool = False
) -> None:
    places = [place for place in PLACES if place != "c" or in_c]
    assert [(o.fault, o.format) for o in outcomes] == [(f.name, n) for f in FAULTS for n in places]
    assert [o for o in outcomes if o.planted and not o.caught] == []
    assert {o.fault for o in outcomes if not o.planted} == {
        *not_planted,
        # Some not in every place: of no GRU with another formula is a form for large batches made.
        "linear_before_reset flipped",
        "axes without names",
        "guards left out",
        "directions exchanged",
    }
    assert all(bool(o.note) != o.caught for o in outcomes)


# What they do to a batch cannot be said in C, so that no export can do it either.
NO_FORM_IN_C = {
    "batch and sequence mixed up",
    "frozen batch",
    "frozen sequence",
    "the trained model mixes rows",
}

PADDING = {"padding counted", "the trained model counts padding"}


def test_every_fault_of_a_binary_model_is_caught(notebook_bundle: Path) -> None:
    seen: list[Outcome] = []
    random_numbers = torch.get_rng_state()
    outcomes = self_test(open_bundle(notebook_bundle), progress=seen.append)
    assert_all_caught(outcomes, PADDING)
    assert tuple(seen) == outcomes
    assert repr(outcomes).startswith("<Outcomes: all ")
    assert len(repr(outcomes)) < 100
    assert "linear_before_reset flipped" in outcomes._repr_html_()
    assert len(outcomes._repr_html_()) < 30_000
    assert torch.equal(torch.get_rng_state(), random_numbers)


def test_every_fault_of_a_padded_model_is_caught(padded_bundle: Path) -> None:
    assert_all_caught(self_test(open_bundle(padded_bundle)), {"threshold moved"})


def test_every_fault_of_a_model_with_classes_is_caught(classes_bundle: Bundle) -> None:
    not_planted = {"threshold moved", *PADDING, *(NO_FORM_IN_C if HAS_CC else ())}
    assert_all_caught(self_test(classes_bundle), not_planted, HAS_CC)


ONLY_WITNESS = {
    "golden": "golden vectors of another model",
    "shapes": "wrong at one length only",
    "tokens": "one embedding row changed, golden made of it",
    "padding": "the trained model counts padding",
    "batches": "the trained model mixes rows",
    "positions": "positional table zeroed, wide tolerance",
    "decisions": "threshold moved",
    "lint": "axes without names",
}


def test_every_check_has_a_fault_of_its_own() -> None:
    assert set(ONLY_WITNESS) == set(CHECKS) == {*PARITY_CHECKS, "lint"}


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_is_decoration(check: str, rare_bundle: Bundle, padded_bundle: Path) -> None:
    bundle = open_bundle(padded_bundle) if check == "padding" else rare_bundle
    planted = [fault(ONLY_WITNESS[check])]
    with_it = self_test(bundle, faults=planted)
    without_it = self_test(bundle, faults=planted, checks=[c for c in CHECKS if c != check])
    assert {o.caught_by for o in with_it if o.planted} == {(check,)}
    assert not any(o.caught for o in without_it)
    assert all("no logit is off by more than" in o.note for o in without_it if o.planted)


def test_the_bundle_itself_has_to_pass_first(notebook_bundle: Path) -> None:
    good = open_bundle(notebook_bundle)
    faulty = fault("one weight changed by 1e-3").plant(Subject.of(good))
    assert isinstance(faulty, Subject)
    broken = dataclasses.replace(
        good,
        files={**good.files, TORCHSCRIPT: to_torchscript(faulty.module, faulty.manifest.signature)},
    )
    with pytest.raises(ParityError, match=r"fails \(golden, .*\) in torchscript before any fault"):
        self_test(broken, faults=[])


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({"model": None}, "does not state its architecture"),
        ({"weights_sha256": "0" * 64}, "not hold the weights that its manifest records"),
        (
            {"model": ModelConfig(12, 10, num_layers=3).to_dict()},
            "holds no weights named rnn_lay.B2",
        ),
    ],
)
def test_a_bundle_that_cannot_be_rebuilt(
    recorded: dict[str, Any], message: str, notebook_bundle: Path
) -> None:
    bundle = open_bundle(notebook_bundle)
    manifest = dataclasses.replace(bundle.manifest, **recorded)
    with pytest.raises(ExportError, match=message):
        self_test(dataclasses.replace(bundle, manifest=manifest))


def test_a_fault_that_changes_nothing_is_not_planted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    smallest = ModelConfig(1, 2, embedding_dim=1, hidden_dim=2, num_layers=1)
    bundle = exported(tmp_path_factory, smallest, ("no", "yes"), 0.5)
    names = ("embedding rows permuted", "first layer's state for the last's")
    notes = {o.fault: o.note for o in self_test(bundle, faults=[fault(name) for name in names])}
    assert notes[names[0]].startswith("it leaves every weight")
    assert notes[names[1]] == "the model has one layer"
