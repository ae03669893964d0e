"""Make the text graphs in this folder again: `python tests/clients/texts/make.py`.

They are those of two bundles in `tests/bundles`, whose ids get made-up words: one with padding and
an id for unknown words, and one with neither.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
BUNDLES = HERE.parents[1] / "bundles"

VOCABULARIES: dict[str, tuple[list[str], int | None]] = {
    "padded": (
        [
            *("[PAD]", "[UNK]", "the", "cat", "sat", "on", "a", "mat", "The", "Ärger", "naïve"),
            *("日本語", "\U0001f600", "w\xa0w", "\ufeff", "\x85", "", "don't", "x" * 300, "."),
        ],
        1,
    ),
    "notebook": ([f"w{number}" for number in range(12)], None),
}
"""By bundle: the vocabulary, and the id of unknown words."""


def text_graph(name: str) -> bytes:
    """The text graph of a bundle, as `export` makes it."""
    import onnx

    from pe_deploy import open_bundle
    from pe_deploy.export.text_graph import to_text_graph

    bundle = open_bundle(BUNDLES / name)
    vocabulary, unknown_id = VOCABULARIES[name]
    model = onnx.load_model_from_string(bundle.read("model.onnx"))
    made = to_text_graph(model, bundle.manifest.signature, vocabulary, unknown_id=unknown_id)
    data: bytes = made.SerializeToString(deterministic=True)
    return data


if __name__ == "__main__":
    for each in VOCABULARIES:
        (HERE / f"{each}.text.onnx").write_bytes(text_graph(each))
