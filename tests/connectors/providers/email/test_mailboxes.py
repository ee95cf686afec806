"""Mails in files as they lie about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from connectors.providers.email.mailboxes import stored_mails
from connectors.providers.email.returned.mime import BYTES_MAX

MBOX = b"""From MAILER-DAEMON Sat Nov 28 10:00:00 2026
Subject: one

From the beginning.
From nobody Sat Nov 28 10:00:00 2026 is no separator here.

From x@y.example Sat Nov 28 10:00:01 2026
Subject: two

b
"""


def numbered(path: Path) -> list[tuple[str, int, bytes]]:
    return [(Path(mail.file).name, mail.number, mail.raw.split(b"\n")[0]) for mail in stored_mails(path)]


def test_an_mbox_has_many_and_any_other_file_one(tmp_path: Path) -> None:
    mbox, single = tmp_path / "box", tmp_path / "one.eml"
    mbox.write_bytes(MBOX)
    single.write_bytes(b"Subject: a\n\n\nFrom x Sat Nov 28 10:00:01 2026\n")
    assert numbered(mbox) == [("box", 1, b"Subject: one"), ("box", 2, b"Subject: two")]
    assert numbered(single) == [("one.eml", 1, b"Subject: a")]
    assert [mail.file for mail in stored_mails(tmp_path)] == [str(mbox), str(mbox), str(single)]


def test_of_a_maildir_what_is_new_and_what_was_seen(tmp_path: Path) -> None:
    for place, name in (("new", "2"), ("cur", "1:2,S"), ("tmp", "3"), ("new", ".hidden")):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / name).write_bytes(b"Subject: " + name.encode())
    assert numbered(tmp_path) == [("1:2,S", 1, b"Subject: 1:2,S"), ("2", 1, b"Subject: 2")]


def test_no_mail_takes_more_memory_than_is_read_of_it(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * (3 * BYTES_MAX))
    (mail,) = stored_mails(tmp_path / "long")
    assert BYTES_MAX < len(mail.raw) < BYTES_MAX + 100_000


def test_a_mail_that_is_moved_meanwhile_stops_nothing(tmp_path: Path) -> None:
    for name in ("new", "cur"):
        (tmp_path / name).mkdir()
    for number in range(3):
        (tmp_path / "new" / str(number)).write_bytes(b"Subject: a")
    mails = stored_mails(tmp_path)
    next(mails)
    (tmp_path / "new" / "1").rename(tmp_path / "cur" / "1:2,S")
    assert [Path(mail.file).name for mail in mails] == ["2"]
    assert len(numbered(tmp_path)) == 3


def test_a_mailbox_is_read_when_nobody_appends_to_it(tmp_path: Path) -> None:
    """A server holds its lock until a mail is whole; what comes after is read the next time."""
    box = tmp_path / "box"
    box.write_bytes(MBOX)
    appends = (
        "import fcntl, sys, time; box = open(sys.argv[1], 'ab'); fcntl.lockf(box, fcntl.LOCK_EX)\n"
        "box.write(b'From x Sat Nov 28 10:00:02 2026\\nSubject: th'); box.flush(); print('half', flush=True)\n"
        "time.sleep(1); box.write(b'ree\\n\\nc\\n'); box.close()"
    )
    with subprocess.Popen([sys.executable, "-c", appends.replace("From x", "\\nFrom x"), box], stdout=-1) as server:
        assert server.stdout is not None
        assert server.stdout.readline()
        assert numbered(box)[2:] == [("box", 3, b"Subject: three")]
    mails = stored_mails(box)
    next(mails)
    with box.open("ab") as more:
        more.write(b"d\n\nFrom x Sat Nov 28 10:00:03 2026\nSubject: four\n\nd\n")
    assert len([*mails]) == 2
