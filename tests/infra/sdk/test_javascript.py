"""The package for JavaScript, beside what every client holds."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from helpers.gateway import Gateway
from helpers.places import ROOT

from infra.services import require

PACKAGE = ROOT / "infra/sdk/javascript"
MODULE = (PACKAGE / "carillon.js").read_text(encoding="utf-8")
DECLARED = (PACKAGE / "carillon.d.ts").read_text(encoding="utf-8")
OF_A_PAGE = """
globalThis.location = process.argv[2]; // as browsers have it
const { Client } = await import("carillon-client");
const client = new Client("/v1", "key-shop");
console.log(JSON.stringify(await client.send({ type: "like", actor: "ada", target: "grace", object: "photo1" })));
"""
ASKED = """
import * as module from "carillon-client";
const client = new module.Client("http://127.0.0.1/v1", "key");
const names = [...Object.getOwnPropertyNames(module.Client.prototype), ...Object.keys(client)];
const keys = [module.keyed({ type: "like" }), module.keyed({ idempotency_key: "k" })].map((one) => one.idempotency_key);
console.log(JSON.stringify({ exports: Object.keys(module), names, keys }));
"""


def ran(directory: Path, program: str, *arguments: str) -> Any:
    """What a program says that has the package installed."""
    shutil.copytree(PACKAGE, directory / "node_modules/carillon-client")
    (directory / "program.mjs").write_text(program)
    command = [require("node"), "program.mjs", *arguments]
    return json.loads(subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=60).stdout)


def test_what_is_declared_is_there(tmp_path: Path) -> None:
    seen = ran(tmp_path, ASKED)
    declared_class = DECLARED.partition("export class Client {")[2].partition("\n}")[0]
    assert sorted(seen["names"]) == sorted(re.findall(r"^  (\w+)\(", declared_class, re.MULTILINE))
    assert sorted(seen["exports"]) == sorted(re.findall(r"^export (?:class|function) (\w+)", DECLARED, re.MULTILINE))
    made, kept = seen["keys"]
    assert len(made) == 36
    assert kept == "k"


def test_a_page_may_name_the_gateway_by_its_path(tmp_path: Path, gateway: Gateway) -> None:
    assert ran(tmp_path, OF_A_PAGE, f"http://127.0.0.1:{gateway.port}/page")["status"] == 202


def test_it_needs_nothing_that_browsers_lack() -> None:
    assert not re.search(r"^import|\brequire\(|\bprocess\b|\bBuffer\b|node:", MODULE, re.MULTILINE)


def test_all_code_is_in_one_short_file() -> None:
    assert [path.name for path in PACKAGE.rglob("*.*js")] == ["carillon.js"]
    assert len(MODULE.splitlines()) < 200
