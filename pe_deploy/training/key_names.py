"""The names of tensors, whatever wrapped the model when they were saved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from pe_deploy.errors import CheckpointError
from pe_deploy.training.state_dict import State

_ANYWHERE = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What `torch.compile` and others put into names, at any depth."""

_OUTERMOST = "module."  # of DataParallel, DistributedDataParallel and AveragedModel
_AVERAGED = "n_averaged"

# Weight norm and spectral norm of torch.nn.utils.parametrizations, as those before them name it.
_PARAMETRIZED = (
    (re.compile(r"parametrizations\.(\w+)\.original0$"), r"\1_g"),
    (re.compile(r"parametrizations\.(\w+)\.original1$"), r"\1_v"),
    (re.compile(r"parametrizations\.(\w+)\.original$"), r"\1_orig"),
    (re.compile(r"parametrizations\.(\w+)\.0\._([uv])$"), r"\1_\2"),
)


def plain_names(path: Path, state: Mapping[str, Tensor]) -> tuple[State, tuple[str, ...]]:
    """The tensors without what wrappers put before or into their names, and a line on it.

    Raises:
        CheckpointError: two names are one without it.
    """
    names = _plain(state)
    if len(set(names.values())) < len(names):
        ((twice, _),) = Counter(names.values()).most_common(1)
        both = " and ".join(name for name, plain in names.items() if plain == twice)
        raise CheckpointError(f"{path}: {both} both name {twice}; allowed: one tensor for a name")
    dropped = "left out n_averaged, the count of AveragedModel"
    return (
        {plain: state[name] for name, plain in names.items()},
        (dropped,) if _AVERAGED in state.keys() - names.keys() else (),
    )


def by_names_of(
    path: Path, state: Mapping[str, Tensor], own: Iterable[str]
) -> tuple[State, tuple[str, ...]]:
    """The tensors under a model's own names, where they differ by wrappers or by one prefix.

    What still fits no name keeps its own. The lines say what was renamed.

    Raises:
        CheckpointError: two tensors have the same name.
    """
    plain, notes = plain_names(path, state)
    wanted = {name: mine for mine, name in _plain(own).items()}
    prefix = common_prefix(plain, wanted)
    found: State = {}
    for name, tensor in plain.items():
        bare = name.removeprefix(prefix)
        found[wanted.get(bare, bare) if name.startswith(prefix) else name] = tensor
    return found, (*notes, *renamings(state, found))


def common_prefix(names: Iterable[str], wanted: Iterable[str]) -> str:
    """The one prefix behind which most of the wanted names are; "" where none helps."""
    ends = set(wanted)
    counts = Counter({"": 0})
    for name in names:
        starts = (0, *(dot.end() for dot in re.finditer(r"\.", name)))
        counts.update(name[:start] for start in starts if name[start:] in ends)
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)))


def renamings(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A line on the names that are other ones now: the first, and how many more."""
    new = {id(tensor): name for name, tensor in after.items()}
    pairs = [(name, new[id(tensor)]) for name, tensor in before.items() if id(tensor) in new]
    changed = [(name, now) for name, now in pairs if name != now]
    if not changed:
        return ()
    more = f", and {len(changed) - 1} more alike" if len(changed) > 1 else ""
    return (f"read {changed[0][0]} as {changed[0][1]}{more}",)


def _plain(names: Iterable[str]) -> dict[str, str]:
    """Each name with what it is without wrappers; the count of AveragedModel is left out."""
    bare = {name: _ANYWHERE.sub("", name) for name in names}
    inside = {name: one for name, one in bare.items() if one != _AVERAGED}
    while inside and all(one.startswith(_OUTERMOST) for one in inside.values()):
        bare = inside = {name: one.removeprefix(_OUTERMOST) for name, one in inside.items()}
    for pattern, former in _PARAMETRIZED:
        bare = {name: pattern.sub(former, one) for name, one in bare.items()}
    return bare
