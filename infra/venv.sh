#!/bin/sh
# Makes .venv from requirements.lock. Needs Python 3.11 or 3.12; everything else it gets by itself or says what to type.
# A second call with an unchanged lock does nothing. Usage: infra/venv.sh [directory, default .venv]
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
stamp=$venv/.installed
want=$(cat requirements.lock pyproject.toml | cksum)

say() { printf '%s\n' "$*" >&2; }
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; }
whole() { "$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null 2>&1; then sudo -n "$@"; else return 1; fi
}

# Debian splits venv's pip off into a package of its own.
add_venv_package() {
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    command -v apt-get >/dev/null 2>&1 || { say "This Python lacks ensurepip: install it for Python $version, then type: make install"; exit 1; }
    say "This Python lacks ensurepip; installing the package python$version-venv ..."
    { as_root apt-get install -y -q "python$version-venv" || { as_root apt-get update -q && as_root apt-get install -y -q "python$version-venv"; }; } >&2 \
        || { say "Please type: sudo apt-get install -y python$version-venv && make install"; exit 1; }
}

# A venv can be made without ensurepip if some pip is there to fill it from outside.
fill_from_outside() { "$1" -m pip --version >/dev/null 2>&1 && "$1" -m venv --without-pip "$venv" && "$1" -m pip --python "$venv/bin/python" install -q pip; }

make_venv() {
    if ! whole "$1"; then
        if fill_from_outside "$1" 2>/dev/null; then return; fi
        rm -rf "$venv"
        add_venv_package "$1"
    fi
    "$1" -m venv --clear "$venv"
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && fits "$venv/bin/python"; then exit 0; fi

if ! { fits "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    python=
    for candidate in ${PYTHON:-} python3.12 python3.11 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then python=$candidate; break; fi
    done
    if [ -z "$python" ]; then
        say "Carillon needs Python 3.11 or 3.12 on the PATH (or: make install PYTHON=/path/to/python3.12)."
        exit 1
    fi
    say "Making $venv with $("$python" --version) ..."
    make_venv "$python"
fi

say "Installing the locked packages into $venv (about a minute the first time) ..."
pip="$venv/bin/python -m pip --disable-pip-version-check"
$pip install -q --require-hashes --only-binary :all: -r requirements.lock
$pip install -q --no-deps --no-build-isolation --no-index --editable .
printf '%s\n' "$want" >"$stamp"
