"""Weights into modules of any class: what fits is loaded to the bit, what does not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

from pe_deploy.errors import CheckpointError
from pe_deploy.training.fit import fit_state
from pe_deploy.training.weight_files import WeightFile, read_weights

State = dict[str, Tensor]


class Tagger(nn.Module):
    """A user's own module: tables, buffers of several kinds, a norm, a head tied to a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.BatchNorm1d(4)
        self.rnn = nn.LSTM(4, 4, bidirectional=True)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("position_ids", torch.arange(5).expand(1, 5))
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))


def _tagger(seed: int) -> Tagger:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tagger()


TRAINED: State = _tagger(1).state_dict()


def _weights(state: State, *notes: str) -> WeightFile:
    return WeightFile(Path("weights.pt"), state, notes)


def _fits(module: nn.Module, trained: State = TRAINED) -> None:
    state = module.state_dict()
    assert len(state) == len(trained)
    for tensor, expected in zip(state.values(), trained.values(), strict=True):
        assert torch.equal(tensor, expected)


def _without(*names: str) -> State:
    return {name: tensor for name, tensor in TRAINED.items() if name not in names}


def _behind(prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in TRAINED.items()}


LIKE = "and 16 more alike"


@pytest.mark.parametrize(
    ("state", "notes"),
    [
        (TRAINED, ()),
        (_behind("model."), (f"read model.position_ids as position_ids, {LIKE}",)),
        (_behind("a.b.c."), (f"read a.b.c.position_ids as position_ids, {LIKE}",)),
        (_behind("_orig_mod."), (f"read _orig_mod.position_ids as position_ids, {LIKE}",)),
        (
            {"n_averaged": torch.tensor(3), **_behind("module.")},
            (
                "left out n_averaged, the count of AveragedModel",
                f"read module.position_ids as position_ids, {LIKE}",
            ),
        ),
        (
            {name.replace("rnn.", "rnn._orig_mod."): one for name, one in TRAINED.items()},
            ("read rnn._orig_mod.weight_ih_l0 as rnn.weight_ih_l0, and 7 more alike",),
        ),
        (
            _without("head.weight"),
            ("read table.weight as head.weight too, which is the same parameter",),
        ),
        (_without("position_ids", "norm.num_batches_tracked"), ()),
        (
            TRAINED | {"old.position_ids": torch.arange(9)},
            ("left out old.position_ids, which the model does not keep",),
        ),
    ],
)
def test_names_of_wrappers_and_what_needs_no_file(state: State, notes: tuple[str, ...]) -> None:
    module = _tagger(2)
    assert fit_state(module, _weights(state, "as before")) == ("as before", *notes)
    _fits(module)
    assert module.head.weight is module.table.weight


class _Compiled(nn.Module):
    """The names that torch.compile gives, without its seconds."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module


@pytest.mark.parametrize("wrap", [nn.DataParallel, _Compiled])
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod.module."])
def test_a_module_that_is_wrapped_itself(
    wrap: Callable[[nn.Module], nn.Module], prefix: str
) -> None:
    module = wrap(_tagger(2))
    fit_state(module, _weights(_behind(prefix)))
    _fits(module)


def test_an_average_into_an_average_and_into_its_module() -> None:
    average = AveragedModel(_tagger(1))
    module = _tagger(2)
    fit_state(module, _weights(average.state_dict()))
    _fits(module)


@pytest.mark.parametrize(
    ("former", "new"),
    [
        (torch.nn.utils.weight_norm, parametrizations.weight_norm),
        (torch.nn.utils.spectral_norm, parametrizations.spectral_norm),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_norms_of_weights_under_their_former_and_new_names(
    former: Callable[[nn.Module], nn.Module], new: Callable[[nn.Module], nn.Module]
) -> None:
    for saved, asked in ((former, new), (new, former), (new, new)):
        trained, module = saved(nn.Linear(3, 2)).eval(), asked(nn.Linear(3, 2)).eval()
        fit_state(module, _weights(trained.state_dict()))
        row = torch.ones(1, 3)
        torch.testing.assert_close(module(row), trained(row))


@pytest.mark.parametrize(
    ("held", "kept", "note"),
    [
        (torch.float16, torch.float32, "read 1 tensor of float16 as float32"),
        (torch.float64, torch.float32, "rounded 1 tensor of float64 to float32"),
        (torch.float32, torch.bfloat16, "rounded 1 tensor of float32 to bfloat16"),
        (torch.float32, torch.float64, "read 1 tensor of float32 as float64"),
    ],
)
def test_a_module_keeps_its_dtype(held: torch.dtype, kept: torch.dtype, note: str) -> None:
    module = nn.Linear(2, 2, bias=False, dtype=kept)
    weight = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=held)
    assert fit_state(module, _weights({"weight": weight})) == (note,)
    assert torch.equal(module.weight, weight.to(kept))


def test_safetensors_without_the_tensors_that_are_there_twice(tmp_path: Path) -> None:
    """As `save_model` writes it: which of the two names stays is its choice."""
    safetensors.torch.save_model(_tagger(1), str(tmp_path / "model.safetensors"))
    module = _tagger(2)
    (note,) = fit_state(module, read_weights(tmp_path / "model.safetensors"))
    assert note.endswith("too, which is the same parameter")
    _fits(module)


def test_a_lazy_module_takes_its_shape_from_the_file() -> None:
    module = nn.LazyLinear(2)
    with pytest.raises(CheckpointError, match=r"pt: weight is missing; bias is missing$"):
        fit_state(module, _weights({}))
    fit_state(module, _weights({"weight": torch.ones(2, 3), "bias": torch.ones(2)}))
    assert module.weight.shape == (2, 3)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {},
            "mask is missing; expected shape [3, 3]; "
            "table.weight is missing; expected shape [7, 4]; "
            "norm.weight is missing; expected shape [4]; norm.bias is missing; expected shape [4]; "
            "norm.running_mean is missing; expected shape [4]; "
            "and 10 more",
        ),
        (
            TRAINED | {"table.weight": torch.zeros(7, 5)},
            "table.weight has shape [7, 5]; expected [7, 4]",
        ),
        (TRAINED | {"criterion.w": torch.ones(2)}, "criterion.w with shape [2] is unexpected"),
        (
            TRAINED | {"norm.bias": torch.ones(4, dtype=torch.int64)},
            "norm.bias with shape [4] is int64; expected dense floats",
        ),
        (
            TRAINED | {"position_ids": torch.ones(1, 5)},
            "position_ids with shape [1, 5] is float32; expected int64",
        ),
        (
            TRAINED | {"mask": torch.full((3, 3), torch.inf)},
            "mask with shape [3, 3] has values that are not finite in float32",
        ),
        (
            TRAINED | {"norm.bias": torch.tensor([0, 0, 0, 1e300], dtype=torch.float64)},
            "norm.bias with shape [4] has values that are not finite in float32",
        ),
        (
            {**_behind("module."), "module.extra": torch.ones(1)},
            "extra with shape [1] is unexpected",
        ),
        (
            _behind("model.") | {"model.norm.bias": torch.ones(2)},
            "norm.bias has shape [2]; expected [4]",
        ),
        (
            TRAINED | {"table._orig_mod.weight": TRAINED["table.weight"]},
            "table.weight and table._orig_mod.weight both name table.weight; "
            "allowed: one tensor for a name",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_the_module_stays(state: State, message: str) -> None:
    module = _tagger(2)
    with pytest.raises(CheckpointError) as caught:
        fit_state(module, _weights(state))
    assert str(caught.value) == f"weights.pt: {message}"
    _fits(module, _tagger(2).state_dict())
