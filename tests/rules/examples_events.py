"""RULES 1: class, `to`, repeats. Worked by hand."""

from __future__ import annotations

from rules.writing import (
    DAY,
    EMAIL,
    HOUR,
    MINUTE,
    NOON,
    PUSH,
    SECOND,
    SMS,
    Example,
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
    prefer,
    quiet,
    retraction,
    suppressed,
    utc,
)

NIGHT = utc("2024-05-15 23:00")
MORNING = utc("2024-05-16 08:00")


def otp(event_id: str, ts: int, **fields: object) -> dict[str, object]:
    return event(event_id, ts, "otp", **({"actor": None} | fields))


def coded(first: str, at: int, *on: str, **fields: object) -> dict[str, object]:
    return emission(first, at, "otp", None, *on, **({"actors": []} | fields))


CLASSES = [
    Example(
        "priority_defaults_to_the_types",
        "1",
        [PUSH, quiet(), like("e1", NIGHT)],
        [held("e1", NIGHT, MORNING)],
    ),
    Example(
        "more_urgent_than_the_type_is_lowered",
        "1",
        [PUSH, quiet(), like("e1", NIGHT, priority="P0")],
        [held("e1", NIGHT, MORNING)],
    ),
    Example(
        "less_urgent_than_the_type_is_kept",
        "1, 3.D.1",
        [PUSH, quiet(), like("e1", NIGHT, priority="P2")],
        [suppressed("e1", NIGHT, "quiet_hours", caps=(0, 0), inbox=True)],
    ),
    Example(
        "less_urgent_event_of_a_P1_type_is_still_on_by_default",
        "3.A.5",
        [PUSH, like("e1", NOON, priority="P2")],
        [emitted("e1", NOON), liked("e1", NOON)],
    ),
    Example(
        "pinned_type_is_raised_to_P0",
        "1",
        [PUSH, quiet(), otp("e1", NIGHT, priority="P2")],
        [emitted("e1", NIGHT, caps=None, inbox=False), coded("e1", NIGHT)],
    ),
    Example(
        "unregistered_type_is_in_app_only_and_never_dropped",
        "1, 7",
        [PUSH, EMAIL, event("e1", NOON, "poke", object="o")],
        [inboxed("e1", NOON)],
    ),
    Example(
        "preferences_apply_to_an_unregistered_type",
        "7",
        [
            prefer(types={"poke": {"enabled": False}, "nudge": {"channels": ["push"]}}, muted={"actors": ["b"]}),
            event("e1", NOON, "poke"),
            event("e2", NOON, "nudge"),
            event("e3", NOON, "wave", actor="b"),
            event("e4", NOON, "wave", actor="u"),
        ],
        [
            suppressed("e1", NOON, "type_off"),
            suppressed("e2", NOON, "no_channel"),
            suppressed("e3", NOON, "muted"),
            suppressed("e4", NOON, "self"),
        ],
    ),
    Example(
        "unregistered_type_cannot_be_P0",
        "1",
        [prefer(master=False), event("e1", NOON, "poke", priority="P0", to={"in_app": "x"})],
        [suppressed("e1", NOON, "master_off")],
    ),
    Example(
        "campaign_types_are_marketing_and_opt_in",
        "7, 3.A.5",
        [
            EMAIL,
            event("e1", NOON, "campaign_may"),
            prefer(NOON, types={"campaign_may": {"enabled": True}}),
            event("e2", NOON + 1, "campaign_may", object="m"),
        ],
        [
            suppressed("e1", NOON, "type_off"),
            emitted("e2", NOON + 1, "email", inbox=False),
            emission("e2", NOON + 1, "campaign_may", "m", "email"),
        ],
    ),
]

TO = [
    Example(
        "to_names_the_channels_in_the_types_order",
        "1",
        [PUSH, otp("e1", NOON, to={"email": "x@y", "sms": "+1"})],
        [emitted("e1", NOON, "sms", "email", caps=None, inbox=False), coded("e1", NOON, "sms", "email")],
    ),
    Example(
        "null_in_to_names_no_channel",
        "1",
        [PUSH, SMS, otp("e1", NOON, to={"push": None, "sms": "+1", "webhook": None})],
        [emitted("e1", NOON, "sms", caps=None, inbox=False), coded("e1", NOON, "sms")],
    ),
    Example(
        "to_that_names_none_is_as_if_absent",
        "1",
        [PUSH, otp("e1", NOON, to={"sms": None}), otp("e2", NOON + 1, to={})],
        [
            emitted("e1", NOON, caps=None, inbox=False),
            coded("e1", NOON),
            emitted("e2", NOON + 1, caps=None, inbox=False),
            coded("e2", NOON + 1),
        ],
    ),
    Example(
        "to_with_a_channel_the_type_does_not_offer_is_ignored_as_a_whole",
        "1, simulation",
        [PUSH, otp("e1", NOON, to={"sms": "+1", "webhook": "x"}), otp("e2", NOON + 1, to={"in_app": "x"})],
        [
            emitted("e1", NOON, caps=None, inbox=False),
            coded("e1", NOON),
            emitted("e2", NOON + 1, caps=None, inbox=False),
            coded("e2", NOON + 1),
        ],
    ),
    Example(
        "to_of_a_class_below_P0_is_ignored",
        "1",
        [PUSH, mention("e1", NOON, to={"email": "x@y"})],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
    Example(
        "to_of_an_event_that_is_not_DIRECT_is_ignored",
        "1",
        [
            PUSH,
            follow(NOON, "u", "a"),
            event("e1", NOON, "otp", fan_out_type="FOLLOWERS", target=None, to={"sms": "+1"}),
        ],
        [emitted("e1", NOON, caps=None, inbox=False), coded("e1", NOON, actors=["a"])],
    ),
    Example(
        "to_overrides_preferences_and_files",
        "1, 3.B",
        [
            endpoint("email", state="invalid"),
            prefer(types={"password_reset": {"channels": ["push"]}}, unsubscribed={"email": ["security"]}),
            event("e1", NOON, "password_reset", to={"in_app": "here", "email": "x@y"}),
        ],
        [emitted("e1", NOON, "email", caps=None), emission("e1", NOON, "password_reset", None, "email")],
    ),
    Example(
        "to_less_in_app_under_a_kill_switch",
        "3.B",
        [
            kill(0, "channel", "in_app"),
            event("e1", NOON, "password_reset", to={"in_app": "here"}),
            event("e2", NOON + 1, "password_reset", to={"in_app": "here", "sms": "+1"}),
        ],
        [
            suppressed("e1", NOON, "kill_switch"),
            emitted("e2", NOON + 1, "sms", caps=None, inbox=False),
            emission("e2", NOON + 1, "password_reset", None, "sms"),
        ],
    ),
    Example(
        "to_finds_its_only_channel_under_a_kill_switch",
        "3.E",
        [PUSH, kill(0, "channel", "sms"), otp("e1", NOON, to={"sms": "+1"})],
        [suppressed("e1", NOON, "kill_switch")],
    ),
    Example(
        "email_of_otp_is_by_to_only",
        "7",
        [EMAIL, SMS, prefer(types={"otp": {"channels": ["email", "sms"]}}), otp("e1", NOON)],
        [emitted("e1", NOON, "sms", caps=None, inbox=False), coded("e1", NOON, "sms")],
    ),
]

REPEATS = [
    Example(
        "a_key_repeats_for_an_hour_whatever_the_body",
        "1",
        [
            PUSH,
            mention("e1", NOON, idempotency_key="k"),
            mention("e2", NOON + HOUR - 1, "b", idempotency_key="k"),
            mention("e3", NOON + HOUR, idempotency_key="k"),
        ],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e3", NOON + HOUR, caps=(0, 1)),
            mentioned("e3", NOON + HOUR),
        ],
    ),
    Example(
        "a_key_is_not_prolonged_by_its_repeats",
        "1",
        [
            PUSH,
            mention("e1", NOON, idempotency_key="k"),
            mention("e2", NOON + 59 * MINUTE, idempotency_key="k"),
            mention("e3", NOON + 61 * MINUTE, idempotency_key="k"),
        ],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e3", NOON + 61 * MINUTE, caps=(0, 1)),
            mentioned("e3", NOON + 61 * MINUTE),
        ],
    ),
    Example(
        "a_key_belongs_to_its_sender",
        "1",
        [
            PUSH,
            mention("e1", NOON, idempotency_key="k"),
            mention("e2", NOON + 1, idempotency_key="k", sender_id="other"),
        ],
        [emitted("e1", NOON), mentioned("e1", NOON), emitted("e2", NOON + 1, caps=(1, 1)), mentioned("e2", NOON + 1)],
    ),
    Example(
        "keyless_same_content_is_a_repeat_within_the_hour",
        "1",
        [
            PUSH,
            mention("e1", NOON, object="p", payload={"n": 1, "m": "x"}),
            mention("e2", NOON + HOUR - 1, object="p", payload={"m": "x", "n": 1.0}, ttl_ms=HOUR, priority="P0"),
            mention("e3", NOON + HOUR, object="p", payload={"m": "x", "n": 1}),
        ],
        [
            emitted("e1", NOON),
            emission("e1", NOON, "mention", "p"),
            emitted("e3", NOON + HOUR, caps=(0, 1)),
            emission("e3", NOON + HOUR, "mention", "p"),
        ],
    ),
    Example(
        "keyless_differences_in_content",
        "1",
        [
            mention("e1", NOON, object="p"),
            mention("e2", NOON, object="p", payload={}),
            mention("e3", NOON, object="p", payload={"n": True}),
            mention("e4", NOON, object="p", payload={"n": 1}),
            mention("e5", NOON, object="p", payload={"n": 1}, ttl_ms=5),
            mention("e6", NOON, object="p", payload={"n": 1}, ttl_ms=5, priority="P2"),
            mention("e7", NOON, object="p", payload={"n": 1}, ttl_ms=5, priority="P2", deliver_at=1),
            mention("e8", NOON, object="p", payload={"n": 1}, ttl_ms=5, priority="P2", deliver_at=1),
        ],
        [inboxed(f"e{n}", NOON) for n in range(1, 8)],
    ),
    Example(
        "keyless_is_compared_with_the_latest_only",
        "1",
        [
            mention("e1", NOON, object="p", payload={"text": "one"}),
            mention("e2", NOON, object="p", payload={"text": "two"}),
            mention("e3", NOON, object="p", payload={"text": "one"}),
            mention("e4", NOON, object="p", payload={"text": "one"}),
        ],
        [inboxed("e1", NOON), inboxed("e2", NOON), inboxed("e3", NOON)],
    ),
    Example(
        "a_keyed_event_is_not_the_latest_keyless_one",
        "1",
        [
            mention("e1", NOON, object="p"),
            mention("e2", NOON, object="p", payload={"text": "x"}, idempotency_key="k"),
            mention("e3", NOON, object="p"),
        ],
        [inboxed("e1", NOON), inboxed("e2", NOON)],
    ),
    Example(
        "keyless_of_another_kind_is_no_repeat",
        "1",
        [
            mention("e1", NOON, object="p"),
            mention("e2", NOON, object="q"),
            mention("e3", NOON, object="p", actor="b"),
            mention("e4", NOON, object="p", sender_id="other"),
            mention("e5", NOON, object="p", segment="seg"),
            mention("e6", NOON, object="p", fan_out_type="DIRECT"),
        ],
        [inboxed(f"e{n}", NOON) for n in range(1, 6)],
    ),
    Example(
        "like_unlike_like_is_three_events",
        "1",
        [
            like("e1", NOON),
            like("e2", NOON + 1, retracts=True),
            like("e3", NOON + 2),
            like("e4", NOON + 3),
        ],
        [inboxed("e1", NOON), retraction("e2", NOON + 1), inboxed("e3", NOON + 2)],
    ),
    Example(
        "keyless_P0_is_never_a_repeat",
        "1",
        [PUSH, otp("e1", NOON, payload={"code": 1}), otp("e2", NOON + SECOND, payload={"code": 1})],
        [
            emitted("e1", NOON, caps=None, inbox=False),
            coded("e1", NOON),
            emitted("e2", NOON + SECOND, caps=None, inbox=False),
            coded("e2", NOON + SECOND),
        ],
    ),
    Example(
        "keyed_P0_can_be_a_repeat",
        "1",
        [PUSH, otp("e1", NOON, idempotency_key="k"), otp("e2", NOON + SECOND, idempotency_key="k")],
        [emitted("e1", NOON, caps=None, inbox=False), coded("e1", NOON)],
    ),
    Example(
        "an_event_id_repeats_for_a_day_of_any_sender",
        "1",
        [
            PUSH,
            mention("e1", NOON),
            mention("e1", NOON + HOUR, "b", sender_id="other", object="elsewhere"),
            mention("e1", NOON + DAY - 1, "c", idempotency_key="k"),
        ],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
    Example(
        "a_repeat_leaves_no_trace_not_even_its_key_or_id",
        "1",
        [
            mention("e1", NOON, object="p"),
            mention("e1", NOON + 1, object="p", idempotency_key="k"),
            mention("e2", NOON + 2, object="p"),
            mention("e3", NOON + 3, object="q", idempotency_key="k"),
            mention("e2", NOON + 4, object="r"),
        ],
        [inboxed("e1", NOON), inboxed("e3", NOON + 3), inboxed("e2", NOON + 4)],
    ),
    Example(
        "a_repeat_does_not_count",
        "1, 3.D.3",
        [PUSH, capped(1), mention("e1", NOON, idempotency_key="k"), mention("e2", NOON, idempotency_key="k")],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
]

EXAMPLES = CLASSES + TO + REPEATS
