"""RULES 1: `deliver_at`, cancelling, repeats of kept events. Worked by hand."""

from __future__ import annotations

from rules.writing import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    PUSH,
    Example,
    aggregating,
    cancel,
    capped,
    emission,
    emitted,
    endpoint,
    event,
    follow,
    held,
    inboxed,
    kill,
    like,
    liked,
    mention,
    mentioned,
    retraction,
    row,
    suppressed,
    tick,
)

LATER = NOON + 10 * MINUTE

RELEASE = [
    Example(
        "kept_and_released_as_if_it_came_in_then",
        "1",
        [PUSH, mention("e1", NOON, deliver_at=LATER), tick(NOON + HOUR)],
        [emitted("e1", LATER), mentioned("e1", LATER), row("e1", LATER, "mention", "post-e1")],
        inbox=True,
    ),
    Example(
        "ttl_runs_from_the_release",
        "1, 3.A.2",
        [
            PUSH,
            capped(1),
            mention("e0", NOON),
            mention("e1", NOON, deliver_at=LATER, ttl_ms=50 * MINUTE),
            tick(NOON + DAY),
        ],
        [
            emitted("e0", NOON),
            mentioned("e0", NOON),
            emitted("e1", NOON + HOUR, caps=(0, 1)),
            mentioned("e1", NOON + HOUR),
        ],
    ),
    Example(
        "deliver_at_now_or_past_is_no_schedule",
        "1",
        [PUSH, mention("e1", NOON, deliver_at=NOON), mention("e2", NOON, deliver_at=NOON - 1)],
        [emitted("e1", NOON), mentioned("e1", NOON), emitted("e2", NOON, caps=(1, 1)), mentioned("e2", NOON)],
    ),
    Example(
        "not_released_by_the_last_record_leaves_no_record",
        "1, simulation",
        [PUSH, mention("e1", NOON, deliver_at=LATER), tick(LATER - 1)],
        [],
    ),
    Example(
        "a_release_is_behind_timers_due_and_before_records_of_its_time",
        "1, 6",
        [
            PUSH,
            like("e1", NOON, deliver_at=NOON + 2 * MINUTE),
            like("e2", NOON + MINUTE, "b"),
            like("e3", NOON + MINUTE + 1, "c"),
            kill(NOON + 2 * MINUTE, "all"),
        ],
        # The window of e2 ends at 12:02 with e3 in it; e1 comes behind and waits for the next, and no switch is on yet.
        [
            emitted("e2", NOON + MINUTE),
            liked("e2", NOON + MINUTE, actors=["b"]),
            emitted("e3", NOON + 2 * MINUTE, caps=(1, 1)),
            liked("e3", NOON + 2 * MINUTE, actors=["c"]),
            aggregating("e1", NOON + 2 * MINUTE),
        ],
    ),
    Example(
        "several_of_one_time_come_in_the_order_of_acceptance",
        "1",
        [
            PUSH,
            capped(1),
            mention("e2", NOON, deliver_at=LATER),
            mention("e1", NOON + 1, deliver_at=LATER),
            mention("e3", LATER),
        ],
        [
            emitted("e2", LATER),
            mentioned("e2", LATER),
            held("e1", LATER, LATER + HOUR, caps=(1, 1)),
            held("e3", LATER, LATER + HOUR, caps=(1, 1)),
        ],
    ),
    Example(
        "its_place_in_the_log_is_that_of_its_release",
        "1, 6",
        [
            PUSH,
            capped(1),
            mention("e0", NOON),
            mention("e1", NOON, deliver_at=LATER),
            mention("e2", NOON + 1),
            tick(NOON + HOUR),
        ],
        # Both held to 13:00; e2 is first in log order although e1 was accepted first.
        [
            emitted("e0", NOON),
            mentioned("e0", NOON),
            emitted("e2", NOON + HOUR, caps=(0, 1)),
            mentioned("e2", NOON + HOUR),
            held("e1", NOON + HOUR, NOON + 2 * HOUR, caps=(1, 2)),
        ],
    ),
    Example(
        "followers_are_those_at_the_release",
        "1, 2",
        [
            follow(NOON, "v", "a"),
            event("e1", NOON, "new_post", fan_out_type="FOLLOWERS", target=None, object="p", deliver_at=LATER),
            follow(NOON + 1, "v", "a", on=False),
            follow(NOON + 2, "w", "a"),
            tick(LATER),
        ],
        [inboxed("e1", LATER, user="w")],
    ),
]

CANCEL = [
    Example(
        "cancel_leaves_no_record_and_frees_key_and_id",
        "1",
        [
            PUSH,
            mention("e1", NOON, deliver_at=LATER, idempotency_key="k"),
            cancel(NOON + 1, "e1"),
            mention("e1", NOON + 2, idempotency_key="k"),
            tick(LATER),
        ],
        [emitted("e1", NOON + 2), mentioned("e1", NOON + 2)],
    ),
    Example(
        "cancel_at_the_time_of_release_is_too_late",
        "1",
        [PUSH, mention("e1", NOON, deliver_at=LATER), cancel(LATER, "e1")],
        [emitted("e1", LATER), mentioned("e1", LATER)],
    ),
    Example(
        "cancel_of_what_was_never_kept_does_nothing",
        "1",
        [PUSH, mention("e1", NOON), cancel(NOON + 1, "e1"), cancel(NOON + 1, "e9"), mention("e1", NOON + 2)],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
    Example(
        "a_cancelled_latest_is_forgotten_and_the_one_before_does_not_come_back",
        "1",
        [
            mention("e1", NOON, object="p", payload={"text": "one"}),
            mention("e2", NOON + 1, object="p", payload={"text": "two"}, deliver_at=LATER),
            cancel(NOON + 2, "e2"),
            mention("e3", NOON + 3, object="p", payload={"text": "one"}),
            mention("e4", NOON + 4, object="p", payload={"text": "one"}),
            tick(LATER),
        ],
        [inboxed("e1", NOON), inboxed("e3", NOON + 3)],
    ),
    Example(
        "a_cancelled_keyless_one_can_be_sent_again",
        "1",
        [
            mention("e1", NOON, object="p", deliver_at=LATER),
            mention("e2", NOON + 1, object="p", deliver_at=LATER),
            cancel(NOON + 2, "e1"),
            mention("e3", NOON + 3, object="p", deliver_at=LATER),
            mention("e4", NOON + 4, object="p", deliver_at=LATER),
            tick(LATER),
        ],
        [inboxed("e3", LATER)],
    ),
    Example(
        "cancelling_one_that_is_not_the_latest_leaves_the_latest",
        "1",
        [
            mention("e1", NOON, object="p", payload={"text": "one"}, deliver_at=LATER),
            mention("e2", NOON + 1, object="p", payload={"text": "two"}),
            cancel(NOON + 2, "e1"),
            mention("e3", NOON + 3, object="p", payload={"text": "two"}),
            tick(LATER),
        ],
        [inboxed("e2", NOON + 1)],
    ),
    Example(
        "a_key_of_a_kept_event_repeats_until_an_hour_after_its_release",
        "1",
        [
            mention("e1", NOON, deliver_at=NOON + DAY, idempotency_key="k"),
            mention("e2", NOON + 2 * HOUR, idempotency_key="k"),
            mention("e3", NOON + DAY + HOUR - 1, idempotency_key="k"),
            mention("e4", NOON + DAY + HOUR, idempotency_key="k"),
        ],
        [inboxed("e1", NOON + DAY), inboxed("e4", NOON + DAY + HOUR)],
    ),
    Example(
        "an_event_id_of_a_kept_event_repeats_until_a_day_after_its_release",
        "1",
        [
            mention("e1", NOON, deliver_at=NOON + DAY),
            mention("e1", NOON + 30 * HOUR, "b"),
            mention("e1", NOON + 2 * DAY - 1, "c"),
        ],
        [inboxed("e1", NOON + DAY)],
    ),
    Example(
        "keyless_content_of_a_kept_event_repeats_until_an_hour_after_its_release",
        "1",
        [
            mention("e1", NOON, object="p", deliver_at=NOON + DAY),
            mention("e2", NOON + DAY + HOUR - 1, object="p", deliver_at=NOON + DAY),
            mention("e3", NOON + DAY + HOUR, object="p", deliver_at=NOON + DAY),
        ],
        [inboxed("e1", NOON + DAY), inboxed("e3", NOON + DAY + HOUR)],
    ),
]

RETRACT_KEPT = [
    Example(
        "a_retraction_cancels_all_such_kept_events_and_kept_retractions",
        "1",
        [
            like("e1", NOON, deliver_at=LATER),
            like("e2", NOON, deliver_at=LATER + 1, payload={"x": 1}),
            like("e3", NOON, deliver_at=LATER + 2, retracts=True),
            like("e4", NOON + 1, retracts=True),
            tick(NOON + HOUR),
        ],
        [retraction("e4", NOON + 1)],
    ),
    Example(
        "with_parent_event_id_only_that_one_is_cancelled",
        "1",
        [
            like("e1", NOON, deliver_at=LATER),
            like("e2", NOON, deliver_at=LATER, payload={"x": 1}),
            like("e3", NOON + 1, retracts=True, parent_event_id="e1"),
            tick(LATER),
        ],
        [retraction("e3", NOON + 1), inboxed("e2", LATER)],
    ),
    Example(
        "others_are_not_cancelled",
        "1",
        [
            like("e1", NOON, deliver_at=LATER, sender_id="other"),
            like("e2", NOON, "b", deliver_at=LATER),
            like("e3", NOON, deliver_at=LATER, object="o2"),
            like("e4", NOON, deliver_at=LATER, segment="seg"),
            like("e5", NOON + 1, retracts=True),
            tick(LATER),
        ],
        [retraction("e5", NOON + 1), *(inboxed(f"e{n}", LATER) for n in range(1, 5))],
    ),
    Example(
        "a_kept_retraction_cancels_at_its_release",
        "1",
        [
            like("e1", NOON, deliver_at=LATER),
            like("e2", NOON + 1, deliver_at=LATER + 1, retracts=True),
            like("e3", NOON + 2, deliver_at=LATER + 1, payload={"x": 1}),
            tick(NOON + HOUR),
        ],
        # e1 is released before the retraction, which takes it back; e3 is of the same time, but accepted later.
        [inboxed("e1", LATER), retraction("e2", LATER + 1)],
        inbox=True,
    ),
    Example(
        "a_cancelled_one_frees_its_event_id",
        "1",
        [
            like("e1", NOON, deliver_at=LATER, idempotency_key="k"),
            like("e2", NOON + 1, retracts=True),
            like("e1", NOON + 2, idempotency_key="k"),
            tick(LATER),
        ],
        [retraction("e2", NOON + 1), inboxed("e1", NOON + 2)],
    ),
    Example(
        "a_retraction_that_is_a_repeat_cancels_nothing",
        "1",
        [
            like("e1", NOON, retracts=True),
            like("e2", NOON + 1, deliver_at=LATER, idempotency_key="k"),
            like("e3", NOON + 2, retracts=True),
            tick(LATER),
        ],
        [retraction("e1", NOON), inboxed("e2", LATER)],
    ),
    Example(
        "a_reminder_to_oneself_at_its_time",
        "1, 3.A.3",
        [endpoint("push"), event("e1", NOON, "reminder", actor="u", object="tea", deliver_at=LATER), tick(LATER)],
        [emitted("e1", LATER), emission("e1", LATER, "reminder", "tea", actors=["u"])],
    ),
    Example(
        "a_kill_switch_at_the_release_counts",
        "1, 3.A.1",
        [PUSH, mention("e1", NOON, deliver_at=LATER), kill(NOON + 1, "type", "mention"), tick(LATER)],
        [suppressed("e1", LATER, "kill_switch")],
    ),
]

EXAMPLES = RELEASE + CANCEL + RETRACT_KEPT
