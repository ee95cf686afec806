"""Sends and mails per core, and P0 from acceptance to the provider: `python -m bench.delivery [p0|push|mail|signed]`.

P0: the whole system (`carillon up`) with nothing else to do; codes are posted at 50/s, each on its own; from the moment
at which the 202 was read to the moment at which the provider noted the message, before it answered (its journal, in
whole milliseconds of the same clock).

Push and mail: the deliver flow as a process pinned to one core, nginx or smtp-sink on another; emissions wait in the
log, one record each; every send has its intent and answer in `attempts` and its record on the ledger when the clock
stops. `cpu_us` is what the deliver process itself spent per send, all its threads together. Where a server is not
installed, the sandbox takes its place, which is Python and slower than what is measured. Signed: the same mails with a
link to unsubscribe and a DKIM signature by an RSA key of 2048 bits. What such a signature costs by itself is measured
right behind, here (`rsa_us`) and by `openssl speed` (`openssl_us`), and which share of the whole it is.

Right behind ours, against the same server, as many are sent by plain clients that keep nothing of the outcomes (aioapns
and httpx, or aiosmtplib without signatures; `bench/others/plain_sends.py`): the figure is their processor time a send.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.figures import ROOT, record
from bench.native_servers import native_address, native_server
from bench.processes import call, cpu_seconds, journal, peak_rss_mb, started, system_up
from bench.sites import PARTITIONS, new_log
from connectors.log.embedded.log import EmbeddedLog
from connectors.log.interface import NewRecord
from connectors.sandbox.options import sandbox_options
from flows.process.open import clock_ms
from infra.environments import environment_of
from state.model.keys import key_group, partition_of_group

PUSHES, MAILS = 40_000, 10_000
CODES, CODES_PER_S = 1_000, 50


def main(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        if "p0" in wanted:
            p0_idle(Path(directory) / "p0")
        if "push" in wanted:
            sends(Path(directory) / "push", "push", PUSHES)
        if "mail" in wanted:
            sends(Path(directory) / "mail", "email", MAILS)
        if "signed" in wanted:
            sends(Path(directory) / "signed", "email", MAILS, signed=True)


# P0


def p0_idle(directory: Path) -> None:
    with system_up(directory) as (_, up):
        key = up["keys"]["producer"]
        for number in range(CODES):
            device = {"platform": "ios", "address": f"{number:064x}"}
            call(up["url"], f"/v1/users/p{number}/endpoints/push/d1", key, "PUT", device)
        time.sleep(3)
        accepted = [post_code(up, number) for number in range(CODES)]
        time.sleep(2)
        seen = {entry["to"]: entry["ts"] for entry in journal(directory, "apns")}
    late = [seen[f"{number:064x}"] - at for number, at in enumerate(accepted)]
    late.sort()
    work = f"codes at {CODES_PER_S}/s through the P0 gateway, the whole system up and idle"
    for quantile in (50, 99):
        value = max(0.0, late[len(late) * quantile // 100])
        record("delivery", f"p0_idle_p{quantile}_ms", value, "ms", work=work, n=CODES, seconds=CODES / CODES_PER_S)


def post_code(up: dict[str, Any], number: int) -> float:
    """When the acceptance was read, in milliseconds."""
    time.sleep(1 / CODES_PER_S)
    body = {"type": "otp", "target": f"p{number}", "payload": {"code": f"{number:06}"}}
    call(up["p0_url"], "/v1/notifications", up["keys"]["p0_producer"], "POST", body)
    return time.time() * 1000


# push and mail


def sends(directory: Path, channel: str, count: int, *, signed: bool = False) -> None:
    directory.mkdir()
    log = new_log(directory)
    for start in range(0, count, 1000):
        log.append([emission(channel, number) for number in range(start, start + 1000)])
    sandbox = [sys.executable, "-m", "connectors.sandbox", "--dir", str(directory)]
    launch = [sys.executable, "-m", "flows.up.launch", "deliver", "flows", "deliver"]
    with started(sandbox, core=1) as provider:
        assert provider.stdout is not None
        provider.stdout.readline()
        with native_server(channel, directory / "sandbox", core=1) as settings:
            environment = {"CARILLON_DATA_DIR": str(directory), **(settings or {})}
            if settings is not None:  # by default P1 and P2 have 4 000 mails or 16 000 pushes a second
                environment[f"CARILLON_PROVIDERS__{'APNS' if channel == 'push' else 'SMTP'}__RATE_PER_S"] = "1000000"
            if signed:
                environment = {**signing(directory), **environment}
            with started(launch, core=0, environment=environment) as process:
                taker = "the sandbox" if settings is None else {"push": "nginx", "email": "smtp-sink"}[channel]
                measure(log, channel, count, process.pid, signed=signed, taker=taker)
            if settings is not None and not signed:
                beside(directory / "sandbox", channel, count, settings)
    log.close()


def signing(directory: Path) -> dict[str, str]:
    """The configuration by which mails are signed and bear a link."""
    file = directory / "dkim.pem"
    key = generate_private_key(public_exponent=65537, key_size=2048)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    relay = sandbox_options(directory / "sandbox").smtp
    smtp = {
        "HOST": relay.host, "PORT": str(relay.port), "SECURITY": relay.security, "SENDER": relay.sender,
        "DKIM_KEY": str(file), "DKIM_SELECTOR": "bench",
    }  # fmt: skip
    named = {f"CARILLON_PROVIDERS__SMTP__{name}": value for name, value in smtp.items()}
    return {"CARILLON_GATEWAY__PUBLIC_URL": "https://notify.example", **named}


def measure(log: EmbeddedLog, channel: str, count: int, pid: int, *, signed: bool, taker: str) -> None:
    ledger = log.reader({("ledger", partition): 0 for partition in range(PARTITIONS)})
    told = count_deliveries(ledger.poll(10_000, timedelta(seconds=60)))
    first, began, cpu = told, time.perf_counter(), cpu_seconds(pid)
    while told < count:
        told += count_deliveries(ledger.poll(10_000, timedelta(seconds=30)))
    seconds, spent = time.perf_counter() - began, cpu_seconds(pid) - cpu
    done = count - first
    cpu_us = round(spent / done * 1e6, 1)
    beside = signatures(cpu_us) if signed else {}
    mails = "mails_signed_per_core" if signed else "mails_per_core"
    figure = "push_sends_per_core" if channel == "push" else mails
    dress = "DKIM by RSA of 2048 bits, with a link" if signed else "unsigned"
    work = f"over HTTP/2 to {taker}" if channel == "push" else f"over SMTP to {taker}, {dress}, two parts"
    record(
        "delivery", figure, done / seconds, "sends/s", work=f"{work}; intents, answers and ledger durable", n=done,
        seconds=seconds, peak_rss_mb=peak_rss_mb(pid), cpu_us=cpu_us, **beside,
    )  # fmt: skip
    ledger.close()


def beside(sandbox: Path, channel: str, count: int, settings: dict[str, str]) -> None:
    """What plain clients spend on as many, without a word of what became of them."""
    known, server = sandbox_options(sandbox), native_address(settings)
    given: dict[str, Any]
    if channel == "push":
        apns = known.apns
        given = {
            "key": Path(str(apns.signing_key)).read_text(), "key_id": apns.key_id, "team_id": apns.team_id,
            "topic": apns.topic, "ca": str(apns.ca_file),
        }  # fmt: skip
    else:
        given = {"connections": known.smtp.concurrency_max}
    told = json.dumps({"host": server[0], "port": server[1], "count": count, **given})
    python = environment_of("foreign", ROOT / "tests/foreign/requirements.lock")
    for client in ("aioapns", "httpx") if channel == "push" else ("aiosmtplib",):
        command = [python, str(ROOT / "bench/others/plain_sends.py"), client]
        done = subprocess.run(command, input=told, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        spent = json.loads(done.stdout)
        record(
            "delivery", f"{client}_us", spent["cpu_s"] / spent["taken"] * 1e6, "us/send", n=spent["taken"],
            work=f"{channel}, by {client} alone: no log, no ledger", seconds=spent["seconds"],
        )  # fmt: skip


def signatures(cpu_us: float) -> dict[str, Any]:
    """What a bare signature costs now, and its share of a signed mail."""
    key, text = generate_private_key(public_exponent=65537, key_size=2048), bytes(500)
    costs = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(200):
            key.sign(text, PKCS1v15(), SHA256())
        costs.append((time.process_time() - began) / 200 * 1e6)
    beside = {"rsa_us": round(min(costs), 1), "rsa_share": round(min(costs) / cpu_us, 2)}
    if shutil.which("openssl") is None:
        return beside
    said = subprocess.run(
        ["openssl", "speed", "-mr", "-seconds", "1", "rsa2048"], capture_output=True, text=True, check=True
    )
    per_second = float(said.stdout.partition("+F2:")[2].split(":")[2])  # number:bits:signatures:verifications
    return {**beside, "openssl_us": round(1e6 / per_second, 1)}


def count_deliveries(records: list[Any]) -> int:
    return sum(b'"kind":"delivery"' in each.value for each in records)


def emission(channel: str, number: int) -> NewRecord:
    user, now = f"user{number}", clock_ms()
    group = key_group(user)
    address = f"{number:06}".ljust(64, "0") if channel == "push" else f"user{number}@example.com"
    value = {
        "emission_id": f"em_{number:032}", "user": user, "type": "like", "object": "photo1", "count": 1,
        "actors": ["ann"], "actor_count": 1, "first": True, "first_event_id": f"e{number}", "priority": "P1",
        "sender_id": "social", "campaign": None, "category": "social", "channel": channel, "rest": [],
        "devices": [{"id": "d1", "platform": "ios", "address": address, "registered_at": 1}], "policy": "first",
        "payload": None, "locale": "en", "name": None, "decided_at": now, "ingested_at": now,
        "valid_until": now + 3_600_000,
    }  # fmt: skip
    headers = (("schema", b"emission/1+json"), ("seq", f"d:{group}:{number}:0".encode()))
    partition = partition_of_group(group, PARTITIONS)
    return NewRecord(f"deliver.{channel}", partition, user.encode(), json.dumps(value).encode(), headers)


if __name__ == "__main__":
    main(sys.argv[1:] or ["p0", "push", "mail", "signed"])
