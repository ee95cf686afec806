"""RULES 3.D: quiet hours and caps. Worked by hand."""

from __future__ import annotations

from typing import Any

from rules.writing import (
    DAY,
    EMAIL,
    HOUR,
    MINUTE,
    NOON,
    PUSH,
    Example,
    Line,
    capped,
    channels,
    emission,
    emitted,
    event,
    held,
    inboxed,
    like,
    liked,
    mention,
    mentioned,
    merged,
    prefer,
    quiet,
    row,
    suppressed,
    tick,
    utc,
)

NIGHT = utc("2024-05-15 23:00")
MORNING = utc("2024-05-16 08:00")


def woken(name: str, hours: Line, at: str, until: str | None) -> Example:
    """A mention at `at` under these quiet hours: held until then, or sent at once."""
    ts = utc(at)
    records = [PUSH, hours, mention("e1", ts)]
    if until is None:
        return Example(name, "3.D.1", records, [emitted("e1", ts), mentioned("e1", ts)])
    return Example(name, "3.D.1", records, [held("e1", ts, utc(until))])


def with_hours(**hours: Any) -> Line:
    return prefer(quiet_hours=hours)


BERLIN = quiet("22:00", "02:30", "Europe/Berlin")
NEW_YORK = quiet("22:00", "02:00", "America/New_York")

QUIET = [
    woken("quiet_start_is_included", quiet(), "2024-05-15 22:00", "2024-05-16 08:00"),
    woken("just_before_the_start", quiet(), "2024-05-15 21:59:59.999", None),
    woken("just_before_the_end", quiet(), "2024-05-16 07:59:59.999", "2024-05-16 08:00"),
    woken("quiet_end_is_excluded", quiet(), "2024-05-16 08:00", None),
    woken("after_midnight_until_the_same_morning", quiet(), "2024-05-16 00:00", "2024-05-16 08:00"),
    woken("within_one_day", quiet("13:00", "15:00"), "2024-05-15 13:00", "2024-05-15 15:00"),
    woken("within_one_day_the_end_is_excluded", quiet("13:00", "15:00"), "2024-05-15 15:00", None),
    woken("equal_start_and_end_means_never", quiet("22:00", "22:00"), "2024-05-15 22:00", None),
    woken("until_midnight", quiet("22:00", "00:00"), "2024-05-15 23:59:59.999", "2024-05-16 00:00"),
    woken("from_midnight", quiet("00:00", "06:00"), "2024-05-15 00:00", "2024-05-15 06:00"),
    woken("enabled_missing_means_none", with_hours(start="00:00", end="23:59"), "2024-05-15 12:00", None),
    woken("enabled_false_means_none", with_hours(enabled=False, start="00:00", end="23:59"), "2024-05-15 12:00", None),
    woken("default_start_and_end", with_hours(enabled=True), "2024-05-15 22:00", "2024-05-16 08:00"),
    woken("default_end", with_hours(enabled=True, start="23:00"), "2024-05-15 23:00", "2024-05-16 08:00"),
    woken(
        "missing_zone_is_UTC",
        with_hours(enabled=True, start="11:00", end="13:00"),
        "2024-05-15 12:59",
        "2024-05-15 13:00",
    ),
    woken("invalid_zone_is_UTC", quiet("11:00", "13:00", "Europe/Atlantis"), "2024-05-15 12:00", "2024-05-15 13:00"),
    woken("empty_zone_is_UTC", quiet("11:00", "13:00", ""), "2024-05-15 12:00", "2024-05-15 13:00"),
    woken("path_for_a_zone_is_UTC", quiet("11:00", "13:00", "../Europe/Paris"), "2024-05-15 12:00", "2024-05-15 13:00"),
    *(
        woken(f"start_is_no_time_{number}", quiet(text, "23:59"), "2024-05-15 12:00", None)
        for number, text in enumerate(
            ["24:00", "7:00", "07:60", "0700", "07:00 ", "07:00:00", "", "aa:bb", 7, "\u0966\u096d:\u0966\u0966"]
        )
    ),
    woken("end_is_no_time", quiet("11:00", "24:00"), "2024-05-15 12:00", None),
    woken("in_the_users_zone", quiet("22:00", "08:00", "Asia/Tokyo"), "2024-05-15 13:00", "2024-05-15 23:00"),
    woken("in_a_zone_of_quarters", quiet("22:00", "08:00", "Asia/Kathmandu"), "2024-05-15 16:15", "2024-05-16 02:15"),
    # Berlin, 31 March 2024: 02:00 becomes 03:00 at 01:00 UTC, so 02:30 does not come.
    woken("a_gap_swallows_the_end", BERLIN, "2024-03-31 00:30", "2024-03-31 01:00"),
    woken("after_the_gap", BERLIN, "2024-03-31 01:00", None),
    # The hour from 02:00 is missing: 22:00 to 08:00 is an hour shorter.
    woken("a_night_with_a_gap", quiet(timezone="Europe/Berlin"), "2024-03-30 22:00", "2024-03-31 06:00"),
    # A start inside the gap: inside from 03:00 local on.
    woken("a_gap_swallows_the_start", quiet("02:15", "04:00", "Europe/Berlin"), "2024-03-31 01:00", "2024-03-31 02:00"),
    # Start and end inside the gap: that night has no quiet hours.
    woken("a_gap_swallows_both", quiet("02:15", "02:45", "Europe/Berlin"), "2024-03-31 01:00", None),
    # Berlin, 27 October 2024: 03:00 becomes 02:00 at 01:00 UTC; 02:30 comes at 00:30 and at 01:30 UTC.
    woken("the_first_of_two_ends", BERLIN, "2024-10-27 00:10", "2024-10-27 00:30"),
    woken("between_two_ends_outside", BERLIN, "2024-10-27 00:45", None),
    woken("inside_for_the_second_time", BERLIN, "2024-10-27 01:00", "2024-10-27 01:30"),
    # New York, 3 November 2024: 02:00 becomes 01:00 at 06:00 UTC, before the wall clock showed 02:00.
    woken("a_fold_before_the_end", NEW_YORK, "2024-11-03 05:30", "2024-11-03 07:00"),
    woken("the_second_one_o_clock", NEW_YORK, "2024-11-03 06:30", "2024-11-03 07:00"),
    # Lord Howe, half an hour: 6 April 2024 15:00 UTC 02:00 becomes 01:30; 5 October 15:30 UTC 02:00 becomes 02:30.
    woken(
        "lord_howe_first_end", quiet("22:00", "01:45", "Australia/Lord_Howe"), "2024-04-06 14:40", "2024-04-06 14:45"
    ),
    woken(
        "lord_howe_second_end", quiet("22:00", "01:45", "Australia/Lord_Howe"), "2024-04-06 15:05", "2024-04-06 15:15"
    ),
    woken("lord_howe_gap", quiet("22:00", "02:15", "Australia/Lord_Howe"), "2024-10-05 15:20", "2024-10-05 15:30"),
    Example(
        "P2_is_suppressed_in_quiet_hours",
        "3.D.1",
        [EMAIL, quiet(types={"newsletter": {"enabled": True}}), event("e1", NIGHT, "newsletter")],
        [suppressed("e1", NIGHT, "quiet_hours", caps=(0, 0))],
    ),
    Example(
        "P0_passes_quiet_hours_and_caps",
        "3.D",
        [PUSH, quiet(frequency_cap={"max_per_hour": 0, "max_per_day": 0}), event("e1", NIGHT, "security_alert")],
        [emitted("e1", NIGHT, caps=None), emission("e1", NIGHT, "security_alert", None)],
    ),
    Example(
        "the_hold_is_not_moved_by_a_later_change",
        "3.D",
        [PUSH, quiet(), mention("e1", NIGHT), prefer(NIGHT + 1), mention("e2", NIGHT + 2), tick(MORNING - 1)],
        [held("e1", NIGHT, MORNING), emitted("e2", NIGHT + 2), mentioned("e2", NIGHT + 2)],
    ),
    Example(
        "at_the_end_of_a_hold_the_settings_of_then_may_hold_again",
        "3.D",
        [
            PUSH,
            quiet(),
            mention("e1", NIGHT),
            prefer(NIGHT + 1, quiet_hours={"enabled": True, "start": "07:00", "end": "10:00"}),
            tick(MORNING),
        ],
        [held("e1", MORNING, MORNING + 2 * HOUR)],
    ),
]

CAPS = [
    Example(
        "the_hour_cap_holds_until_enough_have_left",
        "3.D.3",
        [
            PUSH,
            capped(2),
            mention("e1", NOON),
            mention("e2", NOON + 10 * MINUTE),
            mention("e3", NOON + 20 * MINUTE),
            tick(NOON + HOUR),
        ],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e2", NOON + 10 * MINUTE, caps=(1, 1)),
            mentioned("e2", NOON + 10 * MINUTE),
            emitted("e3", NOON + HOUR, caps=(1, 2)),
            mentioned("e3", NOON + HOUR),
        ],
    ),
    Example(
        "an_emission_an_hour_ago_has_left_the_window",
        "3.D.3",
        [PUSH, capped(1), mention("e1", NOON), mention("e2", NOON + HOUR)],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e2", NOON + HOUR, caps=(0, 1)),
            mentioned("e2", NOON + HOUR),
        ],
    ),
    Example(
        "a_millisecond_less_has_not",
        "3.D.3",
        [PUSH, capped(1), mention("e1", NOON), mention("e2", NOON + HOUR - 1)],
        [emitted("e1", NOON), mentioned("e1", NOON), held("e2", NOON + HOUR - 1, NOON + HOUR, caps=(1, 1))],
    ),
    Example(
        "several_share_T_the_first_passes_the_others_are_held_again",
        "3.D",
        [
            PUSH,
            capped(2),
            mention("e1", NOON),
            mention("e2", NOON + 10 * MINUTE),
            mention("e5", NOON + 20 * MINUTE),
            mention("e4", NOON + 21 * MINUTE),
            mention("e3", NOON + 22 * MINUTE),
            tick(NOON + HOUR),
        ],
        # At 13:00 e1 has left: e5, first in the log, passes; then 12:10 must leave, at 13:10.
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e2", NOON + 10 * MINUTE, caps=(1, 1)),
            mentioned("e2", NOON + 10 * MINUTE),
            emitted("e5", NOON + HOUR, caps=(1, 2)),
            mentioned("e5", NOON + HOUR),
            held("e4", NOON + HOUR, NOON + 70 * MINUTE, caps=(2, 3)),
            held("e3", NOON + HOUR, NOON + 70 * MINUTE, caps=(2, 3)),
        ],
    ),
    Example(
        "a_lowered_cap_needs_more_of_them_to_leave",
        "3.D.3",
        [
            PUSH,
            mention("e1", NOON),
            mention("e2", NOON + MINUTE),
            mention("e3", NOON + 2 * MINUTE),
            capped(2, ts=NOON + 3 * MINUTE),
            mention("e4", NOON + 3 * MINUTE),
            capped(1, ts=NOON + 4 * MINUTE),
            mention("e5", NOON + 4 * MINUTE),
        ],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e2", NOON + MINUTE, caps=(1, 1)),
            mentioned("e2", NOON + MINUTE),
            emitted("e3", NOON + 2 * MINUTE, caps=(2, 2)),
            mentioned("e3", NOON + 2 * MINUTE),
            held("e4", NOON + 3 * MINUTE, NOON + HOUR + MINUTE, caps=(3, 3)),
            held("e5", NOON + 4 * MINUTE, NOON + HOUR + 2 * MINUTE, caps=(3, 3)),
        ],
    ),
    Example(
        "several_of_one_millisecond_leave_together",
        "3.D.3",
        [
            PUSH,
            capped(2),
            mention("e1", NOON),
            mention("e2", NOON),
            mention("e3", NOON),
            mention("e4", NOON),
            tick(NOON + HOUR),
        ],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            emitted("e2", NOON, caps=(1, 1)),
            mentioned("e2", NOON),
            emitted("e3", NOON + HOUR, caps=(0, 2)),
            mentioned("e3", NOON + HOUR),
            emitted("e4", NOON + HOUR, caps=(1, 3)),
            mentioned("e4", NOON + HOUR),
        ],
    ),
    Example(
        "an_hour_cap_of_0_suppresses_P1_too",
        "3.D.3",
        [PUSH, capped(0), mention("e1", NOON)],
        [suppressed("e1", NOON, "cap_hour", caps=(0, 0), inbox=True)],
    ),
    Example(
        "a_day_cap_of_0_comes_first",
        "3.D.2",
        [PUSH, capped(0, 0), mention("e1", NOON)],
        [suppressed("e1", NOON, "cap_day", caps=(0, 0), inbox=True)],
    ),
    Example(
        "quiet_hours_come_before_the_day_cap",
        "3.D",
        [PUSH, quiet(frequency_cap={"max_per_day": 0}), mention("e1", NIGHT), tick(MORNING)],
        [suppressed("e1", MORNING, "cap_day", caps=(0, 0), inbox=True)],
    ),
    Example(
        "P2_over_the_hour_cap_is_suppressed",
        "3.D.3",
        [PUSH, capped(1), mention("e1", NOON), mention("e2", NOON + 1, priority="P2")],
        [emitted("e1", NOON), mentioned("e1", NOON), suppressed("e2", NOON + 1, "cap_hour", caps=(1, 1), inbox=True)],
    ),
    Example(
        "the_day_cap_is_a_sliding_day",
        "3.D.2",
        [PUSH, capped(day=1), mention("e1", NOON), mention("e2", NOON + DAY - 1), mention("e3", NOON + DAY)],
        [
            emitted("e1", NOON),
            mentioned("e1", NOON),
            suppressed("e2", NOON + DAY - 1, "cap_day", caps=(0, 1), inbox=True),
            emitted("e3", NOON + DAY, caps=(0, 0)),
            mentioned("e3", NOON + DAY),
        ],
    ),
    Example(
        "defaults_are_ten_an_hour",
        "3.D",
        [PUSH, *(mention(f"e{n:02}", NOON + n) for n in range(11))],
        [
            *(emitted(f"e{n:02}", NOON + n, caps=(n, n)) for n in range(10)),
            *(mentioned(f"e{n:02}", NOON + n) for n in range(10)),
            held("e10", NOON + 10, NOON + HOUR, caps=(10, 10)),
        ],
    ),
    Example(
        "defaults_are_fifty_a_day",
        "3.D",
        [PUSH, capped(1000), *(mention(f"e{n:02}", NOON + n) for n in range(51))],
        [
            *(emitted(f"e{n:02}", NOON + n, caps=(n, n)) for n in range(50)),
            *(mentioned(f"e{n:02}", NOON + n) for n in range(50)),
            suppressed("e50", NOON + 50, "cap_day", caps=(50, 50), inbox=True),
        ],
    ),
    Example(
        "P0_is_not_counted",
        "3.D",
        [PUSH, capped(1), event("e1", NOON, "otp", actor=None), mention("e2", NOON)],
        [
            emitted("e1", NOON, caps=None, inbox=False),
            emission("e1", NOON, "otp", None, actors=[]),
            emitted("e2", NOON),
            mentioned("e2", NOON),
        ],
    ),
    Example(
        "in_app_alone_is_not_counted",
        "3.D",
        [capped(1), mention("e1", NOON), PUSH | {"ts": NOON}, mention("e2", NOON), mention("e3", NOON)],
        [inboxed("e1", NOON), emitted("e2", NOON), mentioned("e2", NOON), held("e3", NOON, NOON + HOUR, caps=(1, 1))],
    ),
    Example(
        "caps_are_of_all_types_and_channels_together",
        "3.D",
        [
            PUSH,
            EMAIL,
            capped(2, types=channels(reminder=["email"])),
            like("e1", NOON),
            event("e2", NOON, "reminder", object="tea"),
            mention("e3", NOON),
        ],
        [
            emitted("e1", NOON),
            liked("e1", NOON),
            emitted("e2", NOON, "email", caps=(1, 1), inbox=False),
            emission("e2", NOON, "reminder", "tea", "email"),
            held("e3", NOON, NOON + HOUR, caps=(2, 2)),
        ],
    ),
    Example(
        "a_merged_emission_counts_once",
        "3.D",
        [
            PUSH,
            capped(3),
            like("e1", NOON),
            *(like(f"e{n}", NOON + n, f"b{n}") for n in range(2, 6)),
            mention("e6", NOON + MINUTE),
        ],
        [
            emitted("e1", NOON),
            liked("e1", NOON),
            emitted("e2", NOON + MINUTE, caps=(1, 1)),
            *(merged(f"e{n}", NOON + MINUTE, "e2", caps=(1, 1)) for n in range(3, 6)),
            liked("e2", NOON + MINUTE, count=4, actors=["b2", "b3", "b4"]),
            emitted("e6", NOON + MINUTE, caps=(2, 2)),
            mentioned("e6", NOON + MINUTE),
        ],
    ),
    Example(
        "a_group_and_an_item_of_one_T_go_by_the_event_that_found_them_closed",
        "6",
        # e1 opens the group at 23:00, e2 is alone, e3 joins the group: at 08:00 the group goes first, with e3.
        [
            PUSH,
            quiet(frequency_cap={"max_per_hour": 1}),
            like("e1", NIGHT),
            mention("e2", NIGHT + 1),
            like("e3", NIGHT + 2, "b"),
            tick(MORNING),
        ],
        [
            emitted("e1", MORNING),
            merged("e3", MORNING, "e1", caps=(0, 0)),
            liked("e1", MORNING, count=2, actors=["a", "b"]),
            held("e2", MORNING, MORNING + HOUR, caps=(1, 1)),
            row("e1", NIGHT + 2, "like", "o", count=2, actors=["b", "a"]),
            row("e2", NIGHT + 1, "mention", "post-e2"),
        ],
        inbox=True,
    ),
]

EXAMPLES = QUIET + CAPS
