"""What `forward` takes beside the ids, and how it is made of them.

Every caller of a bundle passes ids alone, so a mask, lengths and the like are computed inside the
graph, from the ids and the pad id.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pe_deploy.errors import ExportError

_KINDS = {
    "padding mask": r".*padding_mask|pad_mask|is_pad(ding)?",
    "mask": r"(attention|attn|input|token|seq|sequence|text|src|x)?_?masks?|valid",
    "lengths": r".*(lens?|lengths?)|.*seq_lens?",
    "positions": r"pos|positions?|pos(ition)?_ids|position_?ids",
    "token types": r"token_type_ids?|segment_ids|segments?|segs?",
    "offsets": r"offsets?",
    "state": r"(prev_)?(h|hx|h0|h_0|hidden|hidden_state|state|states|init_state)",
}
_DTYPES: dict[str, tuple[torch.dtype, ...]] = {
    "padding mask": (torch.bool,),
    "mask": (torch.int64, torch.bool, torch.float32),
}
_OPPOSITE = {"mask": "padding mask", "padding mask": "mask"}
_OF_ATTENTION = ("src_mask", "attn_mask", "tgt_mask")
_IDS = ("input_ids", "ids", "token_ids", "tokens", "text", "x", "input", "inputs")


class SecondInput(NamedTuple):
    """One input beside the ids.

    Attributes:
        name: the parameter of `forward`.
        kind: what it is, one of `_KINDS`.
        dtype: of its numbers.
    """

    name: str
    kind: str
    dtype: torch.dtype = torch.int64

    def __str__(self) -> str:
        made = {
            "mask": "1 where an id is not padding",
            "padding mask": "1 where an id is padding",
            "lengths": "the number of ids that are not padding",
            "positions": "0, 1, 2, …",
            "token types": "0",
            "offsets": "none: every row is a bag",
            "state": "what the module's init_hidden gives",
        }[self.kind]
        return f"{self.name}: {made}"


def made(second: SecondInput, module: nn.Module, ids: Tensor, pad_id: int | None) -> Tensor | None:
    """The second input for these ids, `[batch, sequence]`; lengths are `[batch]`."""
    if second.kind == "offsets":
        return None
    if second.kind == "state":
        state: Tensor = module.init_hidden(ids.shape[0])  # type: ignore[operator]
        return state
    if second.kind == "token types":
        return torch.zeros_like(ids)
    if second.kind == "positions":
        return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape[0], ids.shape[1])
    is_token = torch.ones_like(ids).bool() if pad_id is None else ids != pad_id
    if second.kind == "lengths":
        return is_token.sum(1)
    return (~is_token if second.kind == "padding mask" else is_token).to(second.dtype)


class Call(NamedTuple):
    """How `forward` is called: the ids by position where they come first, the rest by name."""

    ids: str | None
    seconds: tuple[SecondInput, ...]


def calls_of(module: nn.Module, pad_id: int | None) -> Iterator[Call]:
    """The ways to call a module's `forward` that are worth trying, the likeliest first.

    A mask may be wanted as numbers or as truths; which one, only a call can tell.

    Raises:
        ExportError: it needs an input that is not understood, or takes none.
    """
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        yield Call(None, ())
        return
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        if not parameters:
            raise ExportError(f"{type(module).__name__}.forward takes no input; allowed: the ids")
        by_name = parameters[0].kind == inspect.Parameter.VAR_KEYWORD
        yield Call("input_ids" if by_name else None, ())
        return
    names = [parameter.name for parameter in named]
    ids = next((name for name in ("input_ids",) if name in names), names[0])
    if ids == names[0] and _kind_of(ids) in ("mask", "lengths") and len(names) > 1:
        ids = next((name for name in _IDS if name in names), ids)
    choices: list[list[SecondInput | None]] = []
    for parameter in named:
        if parameter.name == ids:
            continue
        kind, required = _kind_of(parameter.name), parameter.default is parameter.empty
        if kind == "state" and not hasattr(module, "init_hidden"):
            kind = None
        if (
            parameter.name in _OF_ATTENTION and not required
        ):  # [length, length], and not ours to give
            kind = None
        if required and kind is None:
            raise ExportError(
                f"{type(module).__name__}.forward needs {parameter.name!r} beside the ids, which "
                "is not understood; allowed: a mask, lengths, position_ids or token_type_ids, "
                "which are made of the ids; give any other a default"
            )
        if required or (pad_id is not None and kind in ("mask", "padding mask", "lengths")):
            kinds = [str(kind)]
            if kind in _OPPOSITE and pad_id is not None:  # which one, padding will tell
                kinds.append(_OPPOSITE[kind])
            ways: list[SecondInput | None] = [
                SecondInput(parameter.name, each, dtype)
                for each in kinds
                for dtype in _DTYPES.get(each, (torch.int64,))
            ]
            choices.append(ways if required else [*ways, None])
    first = named[0]
    by_name = ids != first.name or first.kind == first.KEYWORD_ONLY
    for chosen in itertools.product(*choices):
        yield Call(ids if by_name else None, tuple(each for each in chosen if each))


def _kind_of(name: str) -> str | None:
    if name.lower().startswith("max"):
        return None
    return next((kind for kind, form in _KINDS.items() if re.fullmatch(form, name.lower())), None)
