"""Variants of a text: what each person gets of several ways to say the same thing (RULES 3.C)."""

from __future__ import annotations

import re
from functools import lru_cache

from state.model.keys import user_hash
from state.model.template import TypeTexts

VARIANTS = "_variants"
"""Among the forms of a text: its variants and their shares, `a 50, b 50`."""
VARIANTS_MAX = 10
_SHARE = re.compile(r"\s*([A-Za-z0-9]{1,16})\s+([0-9]{1,3})\s*")


def shares_of(texts: TypeTexts) -> tuple[tuple[str, int], ...]:
    """Each variant and its whole percents, in the order in which they are written; empty: there are none, or they are
    written in another way.
    """
    said = texts.get(VARIANTS)
    return _shares(said) if isinstance(said, str) else ()


@lru_cache(maxsize=1_000)
def _shares(said: str) -> tuple[tuple[str, int], ...]:
    found = [_SHARE.fullmatch(each) for each in said.split(",")]
    return tuple((each[1], int(each[2])) for each in found if each) if all(found) else ()


def variant_of(texts: TypeTexts, type_name: str, user: str) -> str | None:
    """Which variant a user gets, by a hash of type and user; None: the text has none."""
    shares = shares_of(texts)
    left = user_hash(f"variant\0{type_name}\0{user}") % 100 if shares else 0
    for name, percent in shares:
        left -= percent
        if left < 0:
            return name
    return None


def of_variant(texts: TypeTexts, variant: str | None) -> TypeTexts:
    """With those of the variant alone in the place of the general ones."""
    if variant is None:
        return texts
    prefix = f"{variant}:"
    own = {form.removeprefix(prefix): source for form, source in texts.items() if form.startswith(prefix)}
    return {**texts, **own} if own else texts
