"""The text graph: a model behind the lookup of its words, strings in and logits out.

It is `model.onnx` with a few standard operators before it, so that every binding of onnxruntime
takes texts without a tokenizer. Words stand between white space of ASCII and are looked up in a
vocabulary; that is all that the operators can do alike everywhere. Where the graph answers, it
answers what the tokenizer's ids give; where it does not, one of its guards fails, as in `guards`:

    guard_utf8_without_nul_and_at_most_…      bindings end a text at NUL, or pass on other bytes
                                              than UTF-8; for the most, see text_white_space
    guard_equally_many_words_in_every_text    where there is no padding
    guard_every_word_in_the_vocabulary        where there is no id for other words
    guard_a_known_word_in_every_text

Each is a Gather that gives 0 for a text where nothing is wrong. That is added to what the next one
reads, and by the last to the ids; then come the guards of the model, which count rows and words.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pe_deploy.bundle.artifacts import TEXT_ONNX
from pe_deploy.config import BATCH, INPUT_IDS, Signature
from pe_deploy.errors import ExportError, PredictionError, line_of
from pe_deploy.export.guards import PREFIX, guard_names
from pe_deploy.export.passes.graph import graphs_in
from pe_deploy.export.text_white_space import most_of_each, spaced
from pe_deploy.runtime.text_graph import TEXTS, text_graph_predictor

OPSET = 20
"""The first with StringSplit."""

ML = "ai.onnx.ml"
ML_OPSET = 4
"""The first whose LabelEncoder reads its words from a tensor."""

_NO_TEXT_GRAPH: Mapping[str, str] = {
    "bytes": "no standard operator gives the bytes of a string",
    "characters": "no standard operator gives the characters of a string",
    "tokenizer.json": "what a tokenizer.json does has no standard operators",
}
"""Why kinds of tokenizers have none."""

_OTHER_BEFORE = ("DFT", "GridSample")
"""Operators that read an attribute otherwise in opset 20 than before; all others only gained."""

_PLAIN = "[^\\x00\\t-\\r\\x{D800}-\\x{DFFF}]*"
"""What a text may be made of once its white space is spaces: UTF-8, which has no surrogates."""

_ALSO: Mapping[str, Sequence[str]] = {"no rows": ("too short",)}
"""The guards that may speak in place of the one that is meant; no texts have no words either."""

_NO_ID = -1
"""What the graph gives an unknown word for an id, where there is none for it."""


def text_guard_names(signature: Signature, *, unknown_id: int | None) -> dict[str, str]:
    """The node that fails, by what is wrong with the texts; the model's own are not among them."""
    most = most_of_each(signature.max_length)
    names = {"white space": f"{PREFIX}utf8_without_nul_and_at_most_{most}_line_breaks_or_tabs"}
    if signature.pad_id is None:
        names["ragged"] = f"{PREFIX}equally_many_words_in_every_text"
    if unknown_id is None:
        names["unknown word"] = f"{PREFIX}every_word_in_the_vocabulary"
    return {**names, "no word": f"{PREFIX}a_known_word_in_every_text"}


def check_has_text_graph(kind: str, normalizer: Sequence[str]) -> None:
    """Check that the texts of a tokenizer can be taken by standard operators.

    Args:
        kind: what a token is, as in a manifest.
        normalizer: what a text goes through first.

    Raises:
        ExportError: they cannot; the line says why.
    """
    why = _NO_TEXT_GRAPH.get(kind)
    if why is None and normalizer:
        why = (
            f"the normalizer {', '.join(normalizer)} has no operator but StringNormalizer, which "
            "answers by the locales of each machine, and fails where they are missing"
        )
    if why is not None:
        raise ExportError(
            f"the kind {kind} has no text graph: {why}; allowed: words without a normalizer"
        )


def to_text_graph(
    model: onnx.ModelProto,
    signature: Signature,
    vocabulary: Sequence[str],
    *,
    unknown_id: int | None,
) -> onnx.ModelProto:
    """Put the lookup of words before a finished graph, which stays as it is.

    The input is `texts`, string `[batch]`, the output that of the model. Its sequence is as long as
    the longest text has words; shorter texts are padded as the signature says.

    Args:
        model: the graph of `to_onnx`, with its guards and metadata.
        signature: what the model takes and gives.
        vocabulary: the word of each id; an empty one where no text gives it. Those of the padding
            and of unknown words are names, and no text gives them.
        unknown_id: the id of a word that is not in the vocabulary; None where it is an error.

    Raises:
        ExportError: the vocabulary has no words, more than the model has ids, or one twice; or the
            graph has an operator that opset 20 reads otherwise.
    """
    _check_operators(model)
    words = _words(vocabulary, signature, unknown_id)
    made = copy.deepcopy(model)
    graph = made.graph
    lookup = _Lookup(words, signature, unknown_id)
    inputs = [helper.make_tensor_value_info(TEXTS, TensorProto.STRING, [BATCH])]
    for field, values in ((graph.input, inputs), (graph.node, [*lookup.nodes, *graph.node])):
        del field[:]
        field.extend(values)
    graph.initializer.extend(lookup.constants)
    for opset in made.opset_import:
        if not opset.domain:
            opset.version = max(opset.version, OPSET)
    made.opset_import.append(helper.make_opsetid(ML, ML_OPSET))
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"onnx.checker refuses the text graph: {line_of(error)}") from error
    return made


def _check_operators(model: onnx.ModelProto) -> None:
    opset = next(opset.version for opset in model.opset_import if not opset.domain)
    used = {node.op_type for graph in graphs_in(model.graph) for node in graph.node}
    found = sorted(used & {*_OTHER_BEFORE})
    if found and opset < OPSET:
        raise ExportError(
            f"opset is {opset}; allowed for a text graph with {', '.join(found)}: {OPSET} or more"
        )


def _words(
    vocabulary: Sequence[str], signature: Signature, unknown_id: int | None
) -> dict[str, int]:
    """The id of each word that a text may give: no name, and nothing that would be split."""
    if len(vocabulary) > signature.vocab_size:
        raise ExportError(
            f"the vocabulary has {len(vocabulary)} entries; allowed: {signature.vocab_size}, one "
            "for each id of the model"
        )
    words: dict[str, int] = {}
    names = (signature.pad_id, unknown_id)
    for number, word in enumerate(vocabulary):
        if number in names or "\0" in word or word.encode().split() != [word.encode()]:
            continue
        if words.setdefault(word, number) != number:
            raise ExportError(f"{word[:40]!r} is both id {words[word]} and id {number}")
    if not words:
        raise ExportError("the vocabulary has 0 words; allowed: 1 or more")
    return words


def check_text_graph_refuses(
    data: bytes, signature: Signature, vocabulary: Sequence[str], *, unknown_id: int | None
) -> None:
    """Try texts that no model takes on a finished text graph.

    Raises:
        ExportError: it answers one of them, or fails in another node than the guard.
    """
    predict = text_graph_predictor(data, signature)
    names = guard_names(signature) | text_guard_names(signature, unknown_id=unknown_id)
    for description, (kind, texts) in bad_texts(signature, vocabulary, unknown_id).items():
        try:
            predict(texts)
        except PredictionError as error:
            meant = [names[each] for each in (kind, *_ALSO.get(kind, ())) if each in names]
            if not any(f"'{name}'" in str(error) for name in meant):
                raise ExportError(
                    f"{TEXT_ONNX} does not say what is wrong with {description}, but: "
                    f"{line_of(error)}"
                ) from error
        else:
            raise ExportError(f"{TEXT_ONNX} answers {description}, which is to be refused")


def bad_texts(
    signature: Signature, vocabulary: Sequence[str], unknown_id: int | None
) -> dict[str, tuple[str, list[str]]]:
    """By description: the kind, as in the names of guards, and texts that no model takes."""
    words = _words(vocabulary, signature, unknown_id)
    word, longest, shortest = next(iter(words)), signature.max_length, signature.min_length
    strange = "x" * (1 + max(map(len, words)))  # longer than any word that is known

    def of(count: int) -> str:
        return " ".join([word] * count)

    good = of(shortest)
    # Without padding, a text of no words beside another is one of another length.
    beside = [] if signature.pad_id is None else [good]
    found = {
        "no texts": ("no rows", []),
        "a text of 0 characters": ("no word", [*beside, ""]),
        "a text of spaces": ("no word", [*beside, "   "]),
        f"a text of {longest + 1} words": ("too long", [of(longest + 1)]),
        "a text of unknown words": (
            "no word" if unknown_id is not None else "unknown word",
            [good, " ".join([strange] * shortest)],
        ),
    }
    found["a text with NUL"] = ("white space", [good, f"{good}\0"])
    too_many = 1 + most_of_each(longest)
    for character in "\t\n\v\f\r":
        many = f"{good}{character * too_many}"
        found[f"a text with {too_many} of {character!r}"] = ("white space", [good, many])
    if shortest > 1:
        found[f"a text of {shortest - 1} words"] = ("too short", [*beside, of(shortest - 1)])
    if unknown_id is None and longest > 1:
        found["a text with an unknown word"] = ("unknown word", [f"{word} {strange}"])
    if signature.pad_id is None and longest > shortest:
        found["texts of two lengths"] = ("ragged", [good, of(shortest + 1)])
    for number, entry in enumerate(vocabulary):
        if entry and number in (signature.pad_id, unknown_id):
            kind, _ = found["a text of unknown words"]
            found[f"a text of the name of id {number}"] = (kind, [" ".join([entry] * shortest)])
    return found


class _Lookup:
    """From `texts` to `input_ids`: nodes in order, and the constants that they read.

    Values are `[batch]`, but for words and ids, which are `[batch, sequence]`.
    """

    def __init__(
        self, words: Mapping[str, int], signature: Signature, unknown_id: int | None
    ) -> None:
        self._most = signature.max_length
        self._padding = signature.pad_id
        self._names = text_guard_names(signature, unknown_id=unknown_id)
        self._checked: str | None = None
        self.nodes, self.constants = spaced(TEXTS, "text_spaced", most_of_each(self._most))
        self._table = self._constant("text_table", [0])
        self._axis = self._constant("text_axis", [1])

        split, counts = self._split("text_spaced")
        # StringSplit fills short rows up with "", which is no word.
        padding = {} if self._padding is None else {"": self._padding}
        unknown = _NO_ID if unknown_id is None else unknown_id
        ids = self._encoded(split, {**padding, **words}, unknown)
        if unknown_id is None:
            self._check_all_known(ids)
        else:
            counts = self._known(ids, unknown)
        self._guard(self._whole(self._equal(counts, "text_none", 0)), "no word")
        right = self._add("Unsqueeze", [self._checked or "", self._axis], "text_right")
        self._add("Add", [ids, right], INPUT_IDS)

    def _split(self, texts: str) -> tuple[str, str]:
        """The words of each text, and how many they are."""
        plain = self._add("RegexFullMatch", [texts], "text_plain", pattern=_PLAIN)
        self._guard(self._whole(self._add("Not", [plain], "text_odd")), "white space")
        split, counts = "text_words", "text_counts"
        # One word too many is enough for a guard of the model to see that there are too many.
        self.nodes.append(
            helper.make_node("StringSplit", [texts], [split, counts], split, maxsplit=self._most)
        )
        if self._padding is None:
            longest = self._add("Shape", [split], "text_longest", start=1, end=2)
            self._guard(self._add("Sub", [longest, counts], "text_missing"), "ragged")
        return split, counts

    def _check_all_known(self, ids: str) -> None:
        # What comes behind the most words is the rest of a text, in one.
        bounds = self._constant("text_begin", [0]), self._constant("text_end", [self._most])
        near = self._add("Slice", [ids, *bounds, self._axis], "text_in_reach")
        self._guard(self._count(self._equal(near, "text_unknown", _NO_ID)), "unknown word")

    def _known(self, ids: str, unknown: int) -> str:
        """How many words of each text are known."""
        other = self._equal(ids, "text_unknown", unknown)
        if self._padding is not None:
            padded = self._equal(ids, "text_padding", self._padding)
            other = self._add("Or", [other, padded], "text_other")
        return self._count(self._add("Not", [other], "text_known"))

    def _guard(self, wrong: str, kind: str) -> None:
        """Fail where a value is not 0 for a text, now that the guards before have not."""
        if self._checked is not None:
            wrong = self._add("Add", [wrong, self._checked], f"{wrong}_so_far")
        self._checked = f"{wrong}_checked"
        inputs, name = [self._table, wrong], self._names[kind]
        self.nodes.append(helper.make_node("Gather", inputs, [self._checked], name))

    def _encoded(self, words: str, ids: Mapping[str, int], unknown: int) -> str:
        return self._add(
            "LabelEncoder",
            [words],
            "text_ids",
            domain=ML,
            keys_tensor=numpy_helper.from_array(np.array([*ids], np.object_), "words"),
            values_tensor=numpy_helper.from_array(np.array([*ids.values()], np.int64), "ids"),
            default_tensor=numpy_helper.from_array(np.array([unknown], np.int64), "unknown"),
        )

    def _equal(self, value: str, name: str, number: int) -> str:
        return self._add("Equal", [value, self._constant(name, number)], f"{name}_found")

    def _whole(self, truth: str) -> str:
        return self._add("Cast", [truth], f"{truth}_as_int", to=TensorProto.INT64)

    def _count(self, truth: str) -> str:
        """For how many words something is true, of each text."""
        return self._add(
            "ReduceSum", [self._whole(truth), self._axis], f"{truth}_count", keepdims=0
        )

    def _constant(self, name: str, value: int | list[int]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, np.int64), name))
        return name

    def _add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output
