"""What became of each variant of a text: the ledger's deliveries that name one, and what was heard of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its stubs refuse columns
_TEXT = pa.string()


def by_variant(decisions: pa.Table, deliveries: pa.Table, heard: pa.Table) -> dict[str, dict[str, int]]:
    """Notifications by variant: `sent`, those that a provider took, and each outcome that was heard of them, once each,
    whatever the number of devices. Feedback names an event: its decision says which notification that became.
    """
    named = deliveries.filter(pc.is_valid(deliveries["variant"]))
    if not len(named):
        return {}
    variants = _texts(named, "emission_id", "variant").group_by("emission_id").aggregate([("variant", "max")])
    taken = _texts(named.filter(pc.equal(named["outcome"], "DELIVERED")), "emission_id")
    sent = taken.append_column("what", pa.array(["sent"] * len(taken), _TEXT))
    items = _texts(decisions.filter(pc.is_valid(decisions["emission_id"])), "event_id", "user", "emission_id")
    items = items.rename_columns(["event_id", "user", "item"])
    told = _texts(heard, "event_id", "user", "emission_id", "outcome").join(items, ["event_id", "user"])
    ids = pc.coalesce(told["emission_id"], told["item"])
    answers = pa.table({"emission_id": ids, "what": told["outcome"]})
    every = pa.concat_tables([sent, answers]).join(variants, "emission_id", join_type="inner")
    found: dict[str, dict[str, int]] = {}
    for row in every.group_by(["variant_max", "what"]).aggregate([("emission_id", "count_distinct")]).to_pylist():
        found.setdefault(row["variant_max"], {})[row["what"]] = row["emission_id_count_distinct"]
    return {name: dict(sorted(found[name].items(), key=lambda each: each[0] != "sent")) for name in sorted(found)}


def _texts(table: pa.Table, *columns: str) -> pa.Table:
    """Some columns, no more as dictionaries: joins need one type."""
    return pa.table({name: table[name].cast(_TEXT) for name in columns})
