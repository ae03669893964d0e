"""The notebook's architecture under other names: one reading, which is said, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pe_deploy.errors import CheckpointError
from pe_deploy.model_config import ModelConfig
from pe_deploy.training import GRUClassifier, load_checkpoint

State = dict[str, Tensor]
CLASS = "name the class: pe-deploy export model.py:NAME weights.pt"

SIZES = {"vocab_size": 12, "max_length": 10, "embedding_dim": 6, "hidden_dim": 5, "num_layers": 2}


class Another(nn.Module):
    """The same architecture by another hand."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(12, 6)
        self.pos_embedding = nn.Parameter(torch.randn(1, 10, 6))
        self.gru = nn.GRU(6, 5, num_layers=2, batch_first=True)
        self.fc = nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        placed = self.tokens(ids) + self.pos_embedding[:, : ids.size(1)]
        logits: Tensor = self.fc(self.gru(placed)[1][-1])
        return logits


with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    ANOTHER = Another().eval()
STATE: State = ANOTHER.state_dict()
READ = "tokens.weight [12, 6] as embedding.weight"


def _renamed(state: State = STATE, **names: str) -> State:
    """With other beginnings of names."""
    made: State = {}
    for name, tensor in state.items():
        first = next((one for one in names if name.startswith(one)), "")
        made[names.get(first, "") + name.removeprefix(first)] = tensor
    return made


def _positions(name: str, *shape: int) -> State:
    table = STATE["pos_embedding"].reshape(shape)
    return {name: table, **{key: one for key, one in STATE.items() if key != "pos_embedding"}}


def _saved(state: State, folder: Path) -> Path:
    torch.save(state, folder / "weights.pt")
    return folder / "weights.pt"


GRU = "gru.* as rnn_lay.*"
HEAD = "fc.* as fc_lay.*"
WHERE = "pos_encoder.positional_encoding.weight"


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (STATE, f"read {GRU}, pos_embedding [1, 10, 6] as {WHERE}, {READ}, {HEAD}"),
        (
            _positions("pos_embedding.weight", 10, 6),
            f"read {GRU}, pos_embedding.weight [10, 6] as {WHERE}, {READ}, {HEAD}",
        ),
        (
            _positions("where", 10, 1, 6),  # no name that says so, and none is needed
            f"read {GRU}, where [10, 1, 6] as {WHERE}, {READ}, {HEAD}",
        ),
        (
            _positions("pe", 10, 6),
            f"read {GRU}, pe [10, 6] as {WHERE}, {READ}, {HEAD}",
        ),
        (
            _renamed(_positions("position", 10, 6), tokens="composer.tokens", pos="composer.pos"),
            f"read {GRU}, composer.position [10, 6] as {WHERE}, composer.{READ}, {HEAD}",
        ),
        (
            _renamed(gru="encoder", fc="head.1", tokens="embedding"),
            f"read encoder.* as rnn_lay.*, pos_embedding [1, 10, 6] as {WHERE}, "
            "head.1.* as fc_lay.*",
        ),
        (
            _renamed(gru="rnn_lay", tokens="embedding", fc="fc_lay"),
            f"read pos_embedding [1, 10, 6] as {WHERE}",
        ),
        (
            {f"module.model.{name}": tensor for name, tensor in STATE.items()},
            f"read model.{GRU}, model.pos_embedding [1, 10, 6] as {WHERE}, model.{READ}, "
            f"model.{HEAD}",
        ),
    ],
)
def test_the_one_reading_that_fits_is_taken_and_said(
    tmp_path: Path, state: State, note: str
) -> None:
    loaded = load_checkpoint(_saved(state, tmp_path))
    assert loaded.notes == (note,)
    assert loaded.config == ModelConfig(**SIZES, num_classes=3)
    ids = torch.arange(10).reshape(2, 5)
    with torch.no_grad():
        assert torch.equal(loaded.model(ids), ANOTHER(ids))


def _with_rnn(rnn: nn.Module) -> State:
    kept = {name: tensor for name, tensor in STATE.items() if not name.startswith("gru.")}
    return {**kept, **{f"rnn.{name}": tensor for name, tensor in rnn.state_dict().items()}}


def _without(*starts: str) -> State:
    return {name: tensor for name, tensor in STATE.items() if not name.startswith(starts)}


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (_with_rnn(nn.LSTM(6, 5)), "rnn is an LSTM"),
        (_with_rnn(nn.RNN(6, 5)), "rnn is a plain RNN"),
        (_with_rnn(nn.GRU(6, 5, bidirectional=True)), "rnn is a GRU, bidirectional"),
        (_with_rnn(nn.LSTM(6, 5, bidirectional=True)), "rnn is an LSTM, bidirectional"),
        (_with_rnn(nn.GRUCell(6, 5)), "no GRU"),
        (STATE | _with_rnn(nn.GRU(6, 5)), "gru, rnn are 2 recurrent parts"),
        (_without("gru.weight_ih_l0"), "gru lacks the matrix weight_ih_l0 or weight_hh_l0"),
        (
            STATE | {"gru.weight_ih_l0": torch.tensor(1.0)},
            "gru lacks the matrix weight_ih_l0 or weight_hh_l0",
        ),
        (
            _without("pos_embedding"),
            "beside the GRU and the head: tokens.weight [12, 6]; expected two tables of width 6",
        ),
        (
            STATE | {"attention": torch.zeros(6, 6)},
            "beside the GRU and the head: attention [6, 6], pos_embedding [1, 10, 6], "
            "tokens.weight [12, 6]; expected two tables of width 6",
        ),
        (
            STATE | {"norm.bias": torch.zeros(5)},
            "2 vectors beside the GRU, not the bias of one head",
        ),
        (_without("fc.bias"), "0 vectors beside the GRU, not the bias of one head"),
        (
            STATE | {"fc.weight": torch.zeros(3, 10)},
            "fc.bias has no fc.weight [3, 5] beside it",
        ),
        (
            _positions("where", 10, 6),
            "either may be the positional table: tokens.weight [12, 6], where [10, 6]",
        ),
        (
            _renamed(_positions("pos_b", 10, 6), tokens="pos_a"),
            "either may be the positional table: pos_a.weight [12, 6], pos_b [10, 6]",
        ),
    ],
)
def test_keys_of_another_model_are_refused_with_the_way_out(
    tmp_path: Path, state: State, why: str
) -> None:
    path = _saved(state, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: embedding.weight is missing; its keys: ")
    assert text.endswith(f"; the keys are not the notebook's architecture ({why}); {CLASS}")


def test_the_notebooks_own_names_with_another_recurrent_layer(tmp_path: Path) -> None:
    state = GRUClassifier(ModelConfig(12, 10)).state_dict()
    lstm = {f"rnn_lay.{name}": one for name, one in nn.LSTM(16, 32, 2).state_dict().items()}
    path = _saved({**state, **lstm}, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    why = f"the keys are not the notebook's architecture (rnn_lay is an LSTM); {CLASS}"
    assert str(caught.value) == f"{path}: {why}"
    del state["rnn_lay.bias_hh_l1"]
    with pytest.raises(
        CheckpointError, match=f"bias_hh_l1 is missing; .*; for another model {CLASS}"
    ):
        load_checkpoint(_saved({f"model.{name}": one for name, one in state.items()}, tmp_path))
