"""A receipt outlives the process that sent its message: kill -9 between the two, against a simulated SMSC."""

from __future__ import annotations

from helpers.feeding import System, kill
from helpers.sandbox_process import Sandbox
from helpers.waiting import wait_for


def test_a_receipt_of_what_a_killed_process_sent_is_noted_by_the_next(system: System, sandbox: Sandbox) -> None:
    smpp = sandbox.options.smpp
    (system.directory / "carillon.toml").write_text(
        f'[providers.smpp]\nhost = "127.0.0.1"\nport = {smpp.port}\nca_file = "{smpp.ca_file}"\n'
        f'system_id = "{smpp.system_id}"\npassword = "{smpp.password}"\nsender = "{smpp.sender}"\n'
    )
    for user, number in (("late/sms/1", "+19973000181"), ("none", "+19970000182")):
        system.feed([system.endpoint(user, "sms", "s", number)])
    before = next((count for count in range(5) if killed_before_its_receipt(system, count)), None)
    assert before is not None, "each was noted by the process that had sent it"
    with system.flow("transactional"):
        wait_for(lambda: len(system.values("outcomes")) > before, what=system.output("transactional"))
        wait_for(lambda: len(system.deliveries()) == 2 * before + 2, what=system.output("transactional"))
    *_, heard = system.values("outcomes")
    sent = {record["emission_id"] for record in system.deliveries().values() if record["user"] == "late/sms/1"}
    assert (heard["outcome"], heard["user"], heard["device"]) == ("delivered", "late/sms/1", "s")
    assert {each["emission_id"] for each in system.values("outcomes")} == sent
    assert len(sent) == before + 1
    assert len(sandbox.journal("smpp")) == 2 * before + 2


def killed_before_its_receipt(system: System, count: int) -> bool:
    """Both are sent, and the process is killed; too late where the machine stood still: one more receipt."""
    process = system.start("transactional")
    system.feed([system.p0("late/sms/1"), system.p0("none")])

    def answered() -> int:
        return sum(each["state"] == "answer" for each in system.values("attempts"))

    wait_for(lambda: answered() == 2 * count + 2, what=system.output("transactional"), every_s=0.01)
    kill(process)
    return len(system.values("outcomes")) == count
