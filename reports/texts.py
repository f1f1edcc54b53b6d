"""The raters' texts: one file with a block for each language."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import yaml

from kpbe.errors import KPBEError

FILE = Path(__file__).with_name("survey_texts.yaml")


class Texts:
    """The texts of a language, called by name: `texts("break.lead", done=35, total=70)`.

    Args:
        language: its HTML language tag, a key of the file.
        entries: name to text.
    """

    def __init__(self, language: str, entries: Mapping[str, str]) -> None:
        self.language, self.entries = language, entries

    def __call__(self, name: str, **values: object) -> str:
        """A text with its {values} filled in.

        Raises:
            KPBEError: there is no such text.
        """
        if name not in self.entries:
            raise KPBEError(f"{FILE.name} has no {name} in the language {self.language!r}: add it there.")
        return self.entries[name].format(**values)

    def part(self, name: str) -> dict[str, str]:
        """All texts below a name, with their placeholders: `texts.part("words")["5"]`."""
        start = f"{name}."
        return {key.removeprefix(start): text for key, text in self.entries.items() if key.startswith(start)}


@lru_cache(maxsize=1)
def languages(file: Path = FILE) -> dict[str, Texts]:
    """All languages by their tags, in the file's order."""
    blocks = yaml.safe_load(file.read_text(encoding="utf-8"))
    return {language: Texts(language, dict(_flat(block))) for language, block in blocks.items()}


def _flat(block: Mapping[object, object], start: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in block.items():
        name = f"{start}{key}"
        pairs += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, str(value))]
    return pairs
