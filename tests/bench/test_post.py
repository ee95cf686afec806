from pathlib import Path

from bench.post import label, measure

FOLLOWERS = 1_200


def test_a_post_is_followed_until_all_of_it_is_in_inboxes_and_archive(tmp_path: Path) -> None:
    cost = measure(tmp_path, FOLLOWERS, at_rest_s=0.3, exported=False)
    assert cost.outcomes.total() == FOLLOWERS
    assert set(cost.outcomes) == {"EMITTED", "HELD", "SUPPRESSED", "INBOX"}
    assert 0.08 < cost.outcomes["HELD"] / FOLLOWERS < 0.18
    assert 0 < cost.seen.first_push_record <= cost.seen.last_decision <= cost.seen.inbox_readable
    assert cost.seen.last_decision <= cost.seen.on_parts
    assert all(cost.topic_bytes[topic] > 0 for topic in ("work", "ledger", "inbox", "deliver.push"))
    assert set(cost.processor_s) == {"sequence", "decide", "inbox"}


def test_figures_name_their_size() -> None:
    assert [label(size) for size in (10_000, 1_000_000, 1_200)] == ["10k", "1m", "1200"]
