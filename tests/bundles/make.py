"""Make the bundles in this folder again: `python tests/bundles/make.py`, after a format change."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from pe_deploy.config import Label
from pe_deploy.export import ExportOptions, Source, export_module
from pe_deploy.export.options import USUAL_FORMATS
from pe_deploy.model_config import ModelConfig
from pe_deploy.text.building import build_tokenizer
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.reading import read_tokenizer
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.training import GRUClassifier

HERE = Path(__file__).parent

WITH_C = ("onnx", "torchscript", "c")
CROSSOVER = 24  # stated, not measured: the same bytes on every machine


TEXTS = tuple(
    f"{who} {does} {what}{end}"
    for who in ("The cat", "a dog", "Zoë", "My aunt")
    for does in ("eats", "sees", "paints")
    for what in ("fish", "the café", "a naïve tree")
    for end in ("", "!", " today")
)
"""What the vocabularies are made of."""


def make(
    name: str,
    config: ModelConfig,
    labels: tuple[Label, ...],
    threshold: float | None,
    tokenizer: Tokenizer | None = None,
    compact: Literal["float16"] | None = None,
    formats: tuple[str, ...] = USUAL_FORMATS,
) -> None:
    """Publish a model with random weights, its head balanced so that every label occurs."""
    torch.manual_seed(0)
    model = GRUClassifier(config).requires_grad_(False)
    model.fc_lay.weight.normal_(std=3.0)
    logits = model(torch.randint(1, config.vocab_size, (1000, config.max_length)))
    model.fc_lay.bias.sub_(logits.mean(0))
    signature = config.signature
    encoder = None if tokenizer is None else TextEncoder(tokenizer, signature)
    source = Source(
        model,
        signature,
        labels,
        threshold,
        config.to_dict(),
        encoder=encoder,
        texts=TEXTS[::5] if encoder else (),
        is_ready=True,
    )
    text_graph = tokenizer is not None and tokenizer.kind == "words" and formats == USUAL_FORMATS
    options = ExportOptions(formats, crossover=CROSSOVER, text_graph=text_graph, compact=compact)
    export_module(source, HERE / name, options)


def make_other_tasks() -> None:
    """Publish the examples' models, small and with random weights: every task but one label."""
    motifs, tagger = (
        runpy.run_path(str(HERE.parents[1] / "examples" / f"{name}.py"))
        for name in ("multilabel_attention", "token_tagger")
    )
    torch.manual_seed(0)
    few = motifs["Motifs"](embedding_dim=4, hidden_dim=8)
    options = ExportOptions(crossover=CROSSOVER)
    sizes: dict[str, Any] = {"max_length": 18, "pad_id": 0, "options": options}
    names = ("ab", "bc", "cd", "da")
    export_module(few, HERE / "multilabel", task="multilabel", labels=names, **sizes)
    export_module(few, HERE / "numbers", task="regression", labels=names, **sizes)
    tags = tagger["Tagger"](embedding_dim=4, hidden_dim=8)
    sizes |= {"task": "tokens", "labels": ("O", "B-RISE", "I-RISE")}
    export_module(tags, HERE / "tokens", **sizes)
    sizes["options"] = ExportOptions(WITH_C, crossover=CROSSOVER, c_name="tagger")
    export_module(tags, HERE / "c_tokens", **sizes)


class Mean(torch.nn.Module):
    """The mean of embeddings, and a line: the least that is a model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(12, 4)
        self.line = torch.nn.Linear(4, 1)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.line(self.embedding(input_ids).mean(1))
        return logits


def make_the_least() -> None:
    """Publish a model of whose C a compiler makes a library in a fifth of a second."""
    torch.manual_seed(0)
    options = ExportOptions("c")
    export_module(Mean(), HERE / "c_plain", max_length=10, labels=(0, 1), options=options)


def word_pieces() -> Tokenizer:
    """A `tokenizer.json` as BERT's: lower case without accents, parts of words, [CLS] and [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = sorted({word.lower().strip("!") for text in TEXTS for word in text.split()})
    parts = ["##s", "##es", "##ing", "!", *"abcdefghijklmnopqrstuvwxyz", "cafe", "naive", "zoe"]
    entries = dict.fromkeys([*special, *words, *parts])
    model = models.WordPiece({e: i for i, e in enumerate(entries)}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(model)
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(special)
    made.enable_truncation(16)
    made.enable_padding()
    with TemporaryDirectory() as folder:
        made.save(str(file := Path(folder) / "tokenizer.json"))
        return read_tokenizer(file)


if __name__ == "__main__":
    make("notebook", ModelConfig(vocab_size=12, max_length=10), (0, 1), 0.5)
    padded = ModelConfig(
        vocab_size=20, max_length=12, embedding_dim=8, hidden_dim=12, num_classes=3, pad_id=0
    )
    make("padded", padded, ("low", "middle", "high"), None)
    make("c_padded", padded, ("low", "middle", "high"), None, formats=WITH_C)
    larger = dataclasses.replace(padded, embedding_dim=16, hidden_dim=24)
    make("compact", larger, ("low", "middle", "high"), None, compact="float16")
    shortest = ModelConfig(vocab_size=5, max_length=1, embedding_dim=3, hidden_dim=4, num_layers=1)
    make("shortest", shortest, (0, 1), 0.5)
    for made in (
        build_tokenizer("bytes", TEXTS),
        build_tokenizer("words", TEXTS),
        build_tokenizer("characters", TEXTS, normalizer=("nfc", "lower-ascii")),
        word_pieces(),
    ):
        small = ModelConfig(
            made.vocab_size, 40, embedding_dim=4, hidden_dim=8, num_classes=3, pad_id=made.pad_id
        )
        name = "pieces" if made.kind == "tokenizer.json" else made.kind
        make(name, small, ("animal", "food", "art"), None, made)
        if name == "words":
            make("c_words", small, ("animal", "food", "art"), None, made, formats=WITH_C)
    make_other_tasks()
    make_the_least()
