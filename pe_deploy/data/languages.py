"""Names of things in 16 languages, from Unicode's CLDR: a set of texts that needs no download.

Babel, the package that the extra `demo` brings, ships the CLDR; `models/README.md` has its licence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.errors import requires_extra

if TYPE_CHECKING:
    from babel import Locale

LANGUAGES: Mapping[str, str] = {
    "Czech": "cs",
    "Danish": "da",
    "Dutch": "nl",
    "English": "en",
    "Finnish": "fi",
    "French": "fr",
    "German": "de",
    "Hungarian": "hu",
    "Italian": "it",
    "Polish": "pl",
    "Portuguese": "pt",
    "Russian": "ru",
    "Spanish": "es",
    "Swedish": "sv",
    "Turkish": "tr",
    "Ukrainian": "uk",
}
"""The labels, in their order, and the locale of each."""

_EVERY, _FROM = 5, 2
"""Of the concepts in the order of their names, every fifth is held out, from the third on."""

Concept = tuple[str, str]
"""What a name is of: a kind of thing, and its code in the CLDR."""


def languages() -> tuple[TextDataset, TextDataset]:
    """Names to train on, and names held out; the label of each is the language that it is in.

    They are of territories, languages, scripts, currencies, units, time zones, months and days. A
    fifth of the concepts is held out, each in all languages, so that no translation of a held-out
    name is trained on. Names that several languages have in common have no answer and are in
    neither part; nor are those that are of concepts of both parts. The parts are in the order of
    the names, and differ with the version of Babel alone.

    Raises:
        MissingDependencyError: Babel is not installed.
    """
    with requires_extra("demo"):
        from babel import Locale
    concepts: dict[str, dict[str, set[Concept]]] = defaultdict(lambda: defaultdict(set))
    for label, code in LANGUAGES.items():
        for concept, name in _names(Locale.parse(code)):
            concepts[name][label].add(concept)
    known = sorted({each for by in concepts.values() for some in by.values() for each in some})
    held_out = set(known[_FROM::_EVERY])
    labels = tuple(LANGUAGES)
    parts: dict[bool, list[tuple[str, int]]] = {False: [], True: []}
    for name, by_label in sorted(concepts.items()):
        if len(by_label) > 1:
            continue
        (label, of), *_ = by_label.items()
        places = {concept in held_out for concept in of}
        if len(places) == 1:
            parts[places.pop()].append((name, labels.index(label)))
    training, unseen = (_dataset(parts[place], labels) for place in (False, True))
    return training, unseen


def _dataset(named: list[tuple[str, int]], labels: tuple[str, ...]) -> TextDataset:
    names, targets = zip(*named, strict=True)
    return TextDataset(names, np.array(targets, np.int64), labels)


def _names(locale: Locale) -> Iterator[tuple[Concept, str]]:
    for kind in ("territories", "languages", "scripts"):
        for code, name in getattr(locale, kind).items():
            yield (kind, code), name
    for kind in ("months", "days"):
        for form in ("stand-alone", "format"):
            for number, name in getattr(locale, kind)[form]["wide"].items():
                yield (kind, f"{number:02}"), name
    data: Mapping[str, Any] = locale._data
    for code, name in locale.currencies.items():
        yield ("currencies", code), name
    for code, forms in data["currency_names_plural"].items():
        yield from ((("currencies", code), form) for form in forms.values())
    for code, styles in data["unit_display_names"].items():
        if name := styles.get("long"):
            yield ("units", code), name
    for code, forms in data["meta_zones"].items():
        yield from ((("zones", code), form) for form in (forms.get("long") or {}).values())
