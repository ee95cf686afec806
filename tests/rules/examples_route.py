"""RULES 3.E: routes and the digest. Worked by hand."""

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
    aggregating,
    capped,
    channels,
    emission,
    emitted,
    endpoint,
    event,
    expired,
    held,
    inboxed,
    kill,
    like,
    liked,
    mention,
    mentioned,
    merged,
    prefer,
    quiet,
    read,
    retraction,
    row,
    suppressed,
    tick,
    utc,
)

NIGHT = utc("2024-05-15 23:00")
MORNING = utc("2024-05-16 08:00")
NINE = utc("2024-05-16 09:00")
BY_MAIL = prefer(types=channels(mention=["email"], comment=["email"], reply=["email", "in_app"]))


def digest(first: str, at: int, **fields: object) -> dict[str, object]:
    return emission(first, at, "digest", None, "email", **fields)


def comment(event_id: str, ts: int, actor: str = "a", **fields: object) -> dict[str, object]:
    return event(event_id, ts, "comment", **({"actor": actor, "object": "o"} | fields))


ROUTES = [
    Example(
        "all_takes_every_channel_in_the_order_of_B",
        "3.E",
        [PUSH, EMAIL, SMS, event("e1", NOON, "payment_confirmation", object="bill")],
        [
            emitted("e1", NOON, "push", "sms", "email", caps=None),
            emission("e1", NOON, "payment_confirmation", "bill", "push", "sms", "email"),
        ],
    ),
    Example(
        "all_less_the_channel_under_a_switch",
        "3.E",
        [PUSH, EMAIL, SMS, kill(0, "channel", "sms"), event("e1", NOON, "account_lockout")],
        [
            emitted("e1", NOON, "push", "email", caps=None),
            emission("e1", NOON, "account_lockout", None, "push", "email"),
        ],
    ),
    Example(
        "first_is_one_channel_however_many_devices",
        "3.E",
        [PUSH, endpoint("push", name="2"), EMAIL, event("e1", NOON, "renewal", object="plan")],
        [emitted("e1", NOON), emission("e1", NOON, "renewal", "plan")],
    ),
    Example(
        "first_passes_over_the_channel_under_a_switch",
        "3.E",
        [PUSH, EMAIL, kill(0, "channel", "push"), event("e1", NOON, "renewal", object="plan")],
        [emitted("e1", NOON, "email"), emission("e1", NOON, "renewal", "plan", "email")],
    ),
    Example(
        "marketing_goes_by_email_first",
        "7",
        [EMAIL, PUSH, prefer(types={"promotion": {"enabled": True}}), event("e1", NOON, "promotion")],
        [emitted("e1", NOON, "email", inbox=False), emission("e1", NOON, "promotion", None, "email")],
    ),
    Example(
        "nothing_left_ends_as_INBOX_or_SUPPRESSED",
        "3.E",
        [
            PUSH,
            kill(0, "channel", "push"),
            prefer(types=channels(share=["push"])),
            mention("e1", NOON),
            event("e2", NOON, "share", object="p"),
        ],
        [inboxed("e1", NOON, caps=(0, 0)), suppressed("e2", NOON, "kill_switch", caps=(0, 0))],
    ),
    Example(
        "the_gate_comes_before_the_route",
        "3.C, 3.E",
        [PUSH, quiet(types=channels(share=["push"])), kill(0, "channel", "push"), event("e1", NIGHT, "share")],
        [held("e1", NIGHT, MORNING, inbox=False)],
    ),
    Example(
        "allowed_is_computed_again_at_the_end_of_a_hold",
        "3.E",
        [
            PUSH,
            EMAIL,
            quiet(types=channels(share=["push"])),
            mention("e1", NIGHT),
            event("e2", NIGHT, "share", object="p"),
            event("e3", NIGHT, "reminder", object="tea", ttl_ms=DAY),
            endpoint("push", ts=NIGHT + 1, state="invalid"),
            prefer(NIGHT + 1, types=channels(share=["push", "in_app"], mention=["push"])),
            tick(MORNING),
        ],
        # No row is written at the end of a hold, and `inbox` stays what it was.
        [
            inboxed("e1", MORNING, caps=(0, 0)),
            suppressed("e2", MORNING, "no_channel", caps=(0, 0)),
            emitted("e3", MORNING, "email"),
            emission("e3", MORNING, "reminder", "tea", "email"),
            row("e1", NIGHT, "mention", "post-e1"),
            row("e3", NIGHT, "reminder", "tea"),
        ],
        inbox=True,
    ),
    Example(
        "a_group_goes_where_its_first_item_would",
        "3.E",
        [
            PUSH,
            like("e1", NOON),
            like("e2", NOON + 1, "b"),
            like("e3", NOON + 2, "c"),
            endpoint("push", ts=NOON + 3, state="invalid"),
            tick(NOON + MINUTE),
        ],
        [
            emitted("e1", NOON),
            liked("e1", NOON),
            inboxed("e2", NOON + MINUTE, caps=(1, 1)),
            inboxed("e3", NOON + MINUTE, caps=(1, 1)),
        ],
    ),
]

DIGEST = [
    Example(
        "email_of_a_mention_waits_for_nine",
        "3.E",
        [EMAIL, BY_MAIL, mention("e1", NOON), tick(NINE - 1)],
        [aggregating("e1", NOON, caps=(0, 0), inbox=False)],
    ),
    Example(
        "at_nine_one_mail_for_all_in_the_order_of_joining",
        "3.E",
        [
            EMAIL,
            BY_MAIL,
            mention("e3", NOON),
            event("e2", NOON + HOUR, "reply", actor="b", object="p"),
            mention("e1", NOON + 2 * HOUR),
            tick(NINE),
        ],
        [
            emitted("e3", NINE, "email", inbox=False),
            merged("e2", NINE, "e3", "email", caps=(0, 0)),
            merged("e1", NINE, "e3", "email", caps=(0, 0), inbox=False),
            digest("e3", NINE, count=3, actors=["a", "b"]),
        ],
    ),
    Example(
        "push_comes_before_email_where_there_is_push",
        "3.E, 7",
        [PUSH, EMAIL, mention("e1", NOON)],
        [emitted("e1", NOON), mentioned("e1", NOON)],
    ),
    Example(
        "push_under_a_switch_leads_to_the_digest",
        "3.E",
        [PUSH, EMAIL, kill(0, "channel", "push"), mention("e1", NOON), tick(NINE)],
        [emitted("e1", NINE, "email"), digest("e1", NINE)],
    ),
    Example(
        "joining_the_digest_counts_nothing",
        "3.E",
        [
            EMAIL,
            PUSH,
            capped(1, types=channels(mention=["email"])),
            mention("e1", NOON),
            mention("e2", NOON),
            like("e3", NOON),
        ],
        [
            aggregating("e1", NOON, caps=(0, 0), inbox=False),
            aggregating("e2", NOON, caps=(0, 0), inbox=False),
            emitted("e3", NOON),
            liked("e3", NOON),
        ],
    ),
    Example(
        "nine_is_after_now_strictly",
        "3.E",
        [EMAIL, BY_MAIL, mention("e1", NINE), tick(NINE + DAY - 1)],
        [aggregating("e1", NINE, caps=(0, 0), inbox=False)],
    ),
    Example(
        "just_before_nine_is_this_nine",
        "3.E",
        [EMAIL, BY_MAIL, mention("e1", NINE - 1), tick(NINE)],
        [emitted("e1", NINE, "email", inbox=False), digest("e1", NINE)],
    ),
    Example(
        "nine_in_his_zone_even_without_quiet_hours",
        "3.E",
        # 12:00 UTC is 21:00 in Tokyo, whose next 09:00 is midnight UTC.
        [
            EMAIL,
            prefer(types=channels(mention=["email"]), quiet_hours={"timezone": "Asia/Tokyo"}),
            mention("e1", NOON),
            tick(utc("2024-05-16 00:00")),
        ],
        [emitted("e1", utc("2024-05-16 00:00"), "email", inbox=False), digest("e1", utc("2024-05-16 00:00"))],
    ),
    Example(
        "nine_across_a_change_of_the_clock",
        "3.E",
        # Berlin, 31 March 2024: 09:00 is 07:00 UTC, no longer 08:00.
        [
            EMAIL,
            prefer(types=channels(mention=["email"]), quiet_hours={"timezone": "Europe/Berlin"}),
            mention("e1", utc("2024-03-30 12:00")),
            tick(utc("2024-03-31 07:00")),
        ],
        [emitted("e1", utc("2024-03-31 07:00"), "email", inbox=False), digest("e1", utc("2024-03-31 07:00"))],
    ),
    Example(
        "nine_in_a_gap_is_the_first_instant_after_it",
        "3.E",
        # Athens, 1 April 1979: 09:00 became 10:00, at 07:00 UTC.
        [
            EMAIL,
            prefer(types=channels(mention=["email"]), quiet_hours={"timezone": "Europe/Athens"}),
            mention("e1", utc("1979-03-31 12:00")),
            mention("e2", utc("1979-04-01 07:00")),
            tick(utc("1979-04-02 06:00")),
        ],
        # The next 09:00 after 10:00 is that of 2 April, 06:00 UTC.
        [
            emitted("e1", utc("1979-04-01 07:00"), "email", inbox=False),
            digest("e1", utc("1979-04-01 07:00")),
            emitted("e2", utc("1979-04-02 06:00"), "email", inbox=False, caps=(0, 1)),
            digest("e2", utc("1979-04-02 06:00")),
        ],
    ),
    Example(
        "the_time_stays_when_the_zone_changes",
        "3.C, 3.E",
        [
            EMAIL,
            BY_MAIL,
            mention("e1", NOON),
            prefer(NOON + 1, types=channels(mention=["email"]), quiet_hours={"timezone": "Asia/Tokyo"}),
            mention("e2", NOON + 2),
            tick(NINE),
        ],
        [
            emitted("e1", NINE, "email", inbox=False),
            merged("e2", NINE, "e1", "email", caps=(0, 0), inbox=False),
            digest("e1", NINE, count=2),
        ],
    ),
    Example(
        "the_time_in_the_digest_does_not_count_against_the_ttl",
        "3.A.2",
        [EMAIL, BY_MAIL, mention("e1", NOON, ttl_ms=0), tick(NINE)],
        [emitted("e1", NINE, "email", inbox=False), digest("e1", NINE)],
    ),
    Example(
        "but_the_time_before_it_does",
        "3.A.2",
        # e2 joins the open group of o and waits 20 s for its window, then waits for nine.
        [
            EMAIL,
            BY_MAIL,
            comment("e1", NOON),
            comment("e2", NOON + 10 * SECOND, "b", ttl_ms=20 * SECOND),
            comment("e3", NOON + 11 * SECOND, "c", ttl_ms=18 * SECOND),
            tick(NINE),
        ],
        [
            emitted("e1", NINE, "email", inbox=False),
            merged("e2", NINE, "e1", "email", caps=(0, 0), inbox=False),
            expired("e3", NOON + 30 * SECOND, inbox=False),
            digest("e1", NINE, count=2, actors=["a", "b"]),
        ],
    ),
    Example(
        "sent_to_the_digest_the_group_is_open_for_its_window",
        "3.C",
        [EMAIL, BY_MAIL, comment("e1", NOON), comment("e2", NOON + SECOND, "b"), tick(NOON + 30 * SECOND - 1)],
        [aggregating("e1", NOON, caps=(0, 0), inbox=False), aggregating("e2", NOON + SECOND, inbox=False)],
    ),
    Example(
        "joining_the_digest_from_a_group_is_a_new_decision",
        "5",
        [EMAIL, BY_MAIL, comment("e1", NOON), comment("e2", NOON + SECOND, "b"), tick(NOON + 30 * SECOND)],
        [
            aggregating("e1", NOON, caps=(0, 0), inbox=False),
            aggregating("e2", NOON + 30 * SECOND, caps=(0, 0), inbox=False),
        ],
    ),
    Example(
        "a_digest_in_quiet_hours_is_held",
        "3.E, 3.D.1",
        [
            EMAIL,
            quiet("22:00", "10:00", types=channels(mention=["email"])),
            mention("e1", NOON),
            tick(NINE),
        ],
        [held("e1", NINE, NINE + HOUR, inbox=False)],
    ),
    Example(
        "what_joins_a_held_digest_is_held_and_goes_with_it",
        "3.C, 3.E",
        # After 09:00 quiet hours are switched off: e2 passes the gate and joins the digest, held until 10:00.
        [
            EMAIL,
            quiet("22:00", "10:00", types=channels(mention=["email"])),
            mention("e1", NOON),
            prefer(NINE + 1, types=channels(mention=["email"])),
            mention("e2", NINE + 2, ttl_ms=0),
            tick(NINE + HOUR),
        ],
        [
            emitted("e1", NINE + HOUR, "email", inbox=False),
            merged("e2", NINE + HOUR, "e1", "email", caps=(0, 0), inbox=False),
            digest("e1", NINE + HOUR, count=2),
        ],
    ),
    Example(
        "what_joins_a_held_digest_shows_as_held",
        "3.C, 3.E",
        [
            EMAIL,
            quiet("22:00", "10:00", types=channels(mention=["email"])),
            mention("e1", NOON),
            prefer(NINE + 1, types=channels(mention=["email"])),
            mention("e2", NINE + 2),
        ],
        [held("e1", NINE, NINE + HOUR, inbox=False), held("e2", NINE + 2, NINE + HOUR, inbox=False)],
    ),
    Example(
        "a_digest_over_the_hour_cap_is_held_over_the_day_cap_suppressed",
        "3.E, 3.D",
        [
            EMAIL,
            PUSH,
            capped(1, types=channels(mention=["email"])),
            mention("e1", NOON),
            like("e2", NINE - MINUTE),
            tick(NINE),
            capped(1, 1, ts=NINE + MINUTE, types=channels(mention=["email"])),
            tick(NINE + HOUR - MINUTE),
        ],
        [
            emitted("e2", NINE - MINUTE),
            liked("e2", NINE - MINUTE),
            suppressed("e1", NINE + HOUR - MINUTE, "cap_day", caps=(0, 1)),
        ],
    ),
    Example(
        "a_digest_counts_when_it_is_emitted",
        "3.D, 3.E",
        [
            EMAIL,
            PUSH,
            capped(1, types=channels(mention=["email"])),
            mention("e1", NOON),
            like("e2", NINE + 1),
        ],
        [emitted("e1", NINE, "email", inbox=False), digest("e1", NINE), held("e2", NINE + 1, NINE + HOUR, caps=(1, 1))],
    ),
    Example(
        "P2_items_of_a_digest_go_as_P1",
        "3.E",
        [
            EMAIL,
            quiet("08:30", "10:00", types=channels(mention=["email"])),
            mention("e1", NOON, priority="P2"),
            tick(NINE),
        ],
        [held("e1", NINE, NINE + HOUR, inbox=False)],
    ),
    Example(
        "a_switch_on_email_at_nine",
        "3.E",
        [
            EMAIL,
            BY_MAIL,
            mention("e1", NOON),
            event("e2", NOON, "reply", object="p"),
            kill(NOON + 1, "channel", "email"),
            tick(NINE),
        ],
        [suppressed("e1", NINE, "kill_switch", caps=(0, 0)), inboxed("e2", NINE, caps=(0, 0))],
    ),
    Example(
        "no_email_left_at_nine",
        "3.E",
        [
            EMAIL,
            BY_MAIL,
            mention("e1", NOON),
            event("e2", NOON, "reply", object="p"),
            comment("e3", NOON),
            prefer(NOON + 1, types=channels(mention=["push"], reply=["push"], comment=["email", "in_app"])),
            tick(NINE),
        ],
        # No row is written for e3 now.
        [
            suppressed("e1", NINE, "no_channel", caps=(0, 0)),
            inboxed("e2", NINE, caps=(0, 0)),
            emitted("e3", NINE, "email", inbox=False),
            digest("e3", NINE),
            row("e2", NOON, "reply", "p"),
        ],
        inbox=True,
    ),
    Example(
        "the_filter_at_nine",
        "3.E, 3.A",
        [
            EMAIL,
            BY_MAIL,
            mention("e1", NOON),
            mention("e2", NOON, "b"),
            prefer(NOON + 1, types=channels(mention=["email"]), muted={"actors": ["a"]}),
            tick(NINE),
        ],
        [
            suppressed("e1", NINE, "muted", caps=(0, 0)),
            emitted("e2", NINE, "email", inbox=False),
            digest("e2", NINE, actors=["b"]),
        ],
    ),
    Example(
        "retracted_out_of_the_digest_which_keeps_its_time",
        "3.F",
        [
            EMAIL,
            BY_MAIL,
            mention("e1", NOON, object="p"),
            mention("e2", NOON + 1, object="p", retracts=True),
            mention("e3", NOON + 2),
            tick(NINE),
        ],
        [
            suppressed("e1", NOON + 1, "retracted", caps=(0, 0)),
            retraction("e2", NOON + 1),
            emitted("e3", NINE, "email", inbox=False),
            digest("e3", NINE),
        ],
    ),
    Example(
        "read_in_the_inbox_needs_no_mail",
        "3.G, 3.E",
        [
            EMAIL,
            BY_MAIL,
            event("e1", NOON, "reply", object="p"),
            mention("e2", NOON),
            read(NOON + 1),
            tick(NINE),
        ],
        [
            inboxed("e1", NOON + 1, caps=(0, 0)),
            emitted("e2", NINE, "email", inbox=False),
            digest("e2", NINE),
        ],
    ),
    Example(
        "the_digest_after_a_digest",
        "3.E",
        [EMAIL, BY_MAIL, mention("e1", NOON), mention("e2", NINE + 1), tick(NINE + DAY)],
        [
            emitted("e1", NINE, "email", inbox=False),
            digest("e1", NINE),
            emitted("e2", NINE + DAY, "email", inbox=False, caps=(0, 0)),
            digest("e2", NINE + DAY),
        ],
    ),
    Example(
        "the_digest_goes_at_the_place_of_the_item_that_opened_it",
        "6",
        # Cap 1; at 09:00 both the digest (opened by e1) and e2 (held for quiet hours from 23:00) are due.
        [
            EMAIL,
            PUSH,
            quiet("22:00", "09:00", frequency_cap={"max_per_hour": 1}, types=channels(mention=["email"])),
            mention("e1", NOON),
            event("e2", NIGHT, "share", object="p"),
            tick(NINE),
        ],
        [
            emitted("e1", NINE, "email", inbox=False),
            digest("e1", NINE),
            held("e2", NINE, NINE + HOUR, caps=(1, 1)),
        ],
    ),
    Example(
        "where_both_fall_together_the_digest_was_set_before_the_group_that_it_opened",
        "6, 3.C",
        # e1 joins the digest, then the group is open: both until 09:00:00, both at its place. The digest is first.
        [
            EMAIL,
            BY_MAIL,
            comment("e1", NINE - 30 * SECOND),
            comment("e2", NINE - 29 * SECOND, "b"),
            tick(NINE),
        ],
        [
            emitted("e1", NINE, "email", inbox=False),
            digest("e1", NINE),
            aggregating("e2", NINE, caps=(1, 1), inbox=False),
        ],
    ),
]

EXAMPLES = ROUTES + DIGEST
