"""From the committed figures to a size: `python -m bench.sizing` prints what many users need, every assumption named.

Processor time is what a direct event, a recipient and a send cost in each station. Figures come from a busy machine of
two cores, and nothing of this size was ever run: this says what to try first, and what breaks first. Left out are the
topics `work` and `attempts`, what a fan-out costs `sequence` more than a direct event, and brokers.
"""

import json
import math
from dataclasses import dataclass

from bench.figures import RESULTS


@dataclass(frozen=True)
class Assumptions:
    """What is not measured here. Prices are round list prices of a month, not an offer."""

    users: int = 500_000_000
    events_per_s: int = 220_000
    deliveries_per_s: int = 660_000
    direct_share: float = 0.5
    """Of events; each makes one delivery. The others are fan-outs, and make the rest of the deliveries."""
    large_share: float = 0.5
    """Of the recipients of fan-outs: in slices of 2 500 and more, the others one by one."""
    busy: float = 0.6
    """Of a core, so that a backlog can be made up."""
    bytes_per_user_memory: int = 230
    """bench/results/README, users: 10 million in one process."""
    bytes_per_user_disk: int = 134
    log_days: int = 7
    copies: int = 3
    archive_days: int = 365
    partition_mb_s: float = 10.0
    """What one Kafka partition takes in comfort."""
    core_price: float = 25.0
    gb_memory_price: float = 3.0
    gb_disk_price: float = 0.08
    gb_archive_price: float = 0.023
    provider_connection_s: int = 1_000
    """Sends a second that a provider answers on one connection. A guess, as the prices and the shares are."""


def figures() -> dict[str, float]:
    """All committed figures by table and name."""
    return {
        f"{path.stem}.{row['figure']}": float(row["value"])
        for path in RESULTS.glob("*.jsonl")
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }


def sizes(found: dict[str, float], given: Assumptions) -> list[tuple[str, float, str]]:
    """(what, how much, unit), in the order of the table."""
    direct = given.events_per_s * given.direct_share
    large = (given.deliveries_per_s - direct) * given.large_share
    small = given.deliveries_per_s - direct - large
    topics = ("ledger", "inbox", "deliver.push")
    columns_bytes, single_bytes = (
        sum(found[f"slices.{how}_{topic}_bytes_2500"] for topic in topics) for how in ("columns", "single")
    )
    track_us = {how: found[f"track.{how}_write_us"] + found[f"track.{how}_merge_us"] for how in ("batch", "single")}
    cores = {
        "direct events, sequence to track": direct * found["direct.all_us_60_percent_push"] / 1e6,
        "recipients of large slices, decide to track": large
        * (found["slices.columns_us_2500"] + found["inbox.slices_us_2500"] + track_us["batch"])
        / 1e6,
        "recipients of small slices, decide to track": small
        * (found["slices.single_us_2500"] + found["inbox.rows_us_2500"] + track_us["single"])
        / 1e6,
        "sends": given.deliveries_per_s / found["delivery.push_sends_per_core"],
    }
    written = large * columns_bytes + (small + direct) * single_bytes
    rows_bytes = large * found["track.batch_merged_bytes"] + (small + direct) * found["track.single_merged_bytes"]
    sequence = given.events_per_s * found["direct.sequence_us_60_percent_push"] / 1e6
    memory_gb = given.users * given.bytes_per_user_memory / 1e9
    log_gb = written * 86_400 * given.log_days * given.copies / 1e9
    archive_gb = rows_bytes * 86_400 * given.archive_days / 1e9
    disk_gb = log_gb + given.users * given.bytes_per_user_disk / 1e9
    bought = math.ceil(sum(cores.values()) / given.busy)
    cost = bought * given.core_price + memory_gb * given.gb_memory_price
    cost += disk_gb * given.gb_disk_price + archive_gb * given.gb_archive_price
    return [
        *((what, value, "cores busy") for what, value in cores.items()),
        ("bought", bought, f"cores, {given.busy:.0%} busy"),
        ("sequence, which has one owner", sequence, "cores; it can use one"),
        ("users in memory", memory_gb, "GB"),
        ("written to ledger, inbox and deliver", written / 1e6, "MB/s before copies"),
        ("their partitions together, at least", math.ceil(written / 1e6 / given.partition_mb_s), ""),
        ("these topics on disk", log_gb / 1e3, f"TB, {given.log_days} days, {given.copies} copies"),
        ("archive", archive_gb / 1e3, f"TB, {given.archive_days} days"),
        ("connections to providers", math.ceil(given.deliveries_per_s / given.provider_connection_s), ""),
        ("a month, without providers' fees", round(cost), "USD"),
    ]


def main() -> None:
    """Print assumptions and sizes as a table."""
    given = Assumptions()
    print(", ".join(f"{name} {value:g}" for name, value in vars(given).items()))
    print("\n| what | how much | |\n|---|---|---|")
    for what, value, unit in sizes(figures(), given):
        print(f"| {what} | {value:,.0f} | {unit} |")


if __name__ == "__main__":
    main()
