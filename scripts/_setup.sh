# shellcheck shell=bash
# Sourced by scripts/run, scripts/test and scripts/check: makes .venv, installs the project, fetches the models.
# Everything it says goes to stderr, because the program's own output on stdout may be read by another program.
# Plain enough for the bash 3.2 of macOS.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=$venv/bin/python

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# The libraries that the wheels of OpenCV, MediaPipe and sounddevice expect on a bare Debian or Ubuntu.
RUN_PACKAGES=(libportaudio2 libgl1 libglib2.0-0 libegl1 libgles2)

# find_python: print a Python that the project supports; PYTHON=... chooses one.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10 to 3.13 found: install one, or set PYTHON=/path/to/python3"
}

# missing_packages NAME...: print those Debian packages that are not installed; nothing on another system.
missing_packages() {
    command -v dpkg-query >/dev/null || return 0
    local installed name
    # Newer Debians renamed some libraries for 64-bit times.
    installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "$@" "${@/%/t64}" 2>/dev/null || true)
    for name in "$@"; do
        grep -qxE "installed ${name//./\\.}(t64)?" <<<"$installed" || echo "$name"
    done
}

# need_packages NAME...: install the missing ones with apt as root; otherwise name them and return 1.
need_packages() {
    local missing
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing Debian packages: $missing"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086 # one word per package
        if apt-get -qq update >&2 && apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends $missing >&2; then
            return 0
        fi
    fi
    say "these Debian packages are missing: $missing"
    say "install them with: sudo apt-get install --no-install-recommends $missing"
    return 1
}

# fingerprint FILE...: changes when the files, the place of the checkout or the cache folder change.
fingerprint() {
    { echo "$root" "${HOME:-}" "${XDG_CACHE_HOME:-}" "${AGFN_CACHE:-}" && cat "$@"; } | cksum
}

# pip_run ARGUMENT...: pip install; with its bars when a person is looking.
pip_run() {
    local quiet=()
    [ -t 2 ] || quiet=(--quiet)
    # The build backend warns about how editable installs work; that is nothing to act on.
    PYTHONWARNINGS=ignore "$python" -m pip install ${quiet[@]+"${quiet[@]}"} --disable-pip-version-check "$@" >&2
}

# hashes ARGUMENT...: scripts/hashes.py, which needs nothing installed.
hashes() { (cd "$root" && "$python" -m scripts.hashes "$@"); }

# pip_install TARGET: with the pinned versions, and of each the very file that hashes.txt lists. What pip would take is
# compared first, so that nothing is installed when one file differs, and no archive is built, which would run its code.
pip_install() {
    local target=$1 plan=$venv/.plan.json wanted=$venv/.requirements.txt
    # compat: the whole checkout can be imported, scripts/ too, wherever a command is called from.
    local editable=(--editable "$target" --config-settings editable_mode=compat)
    if [ "${AGFN_HASHES:-on}" = off ]; then
        say "AGFN_HASHES=off: files are installed as the package index serves them"
        pip_run --constraint "$root/constraints.txt" pip && pip_run --constraint "$root/constraints.txt" "${editable[@]}"
        return
    fi
    rm -f "$plan"
    hashes --first pip setuptools >"$wanted" && pip_run --require-hashes --only-binary :all: --requirement "$wanted" &&
        pip_run --no-build-isolation --only-binary :all: --constraint "$root/constraints.txt" --dry-run --report "$plan" \
            --quiet "${editable[@]}" &&
        hashes --plan "$plan" >"$wanted" || return
    if [ -s "$wanted" ]; then
        pip_run --require-hashes --only-binary :all: --no-deps --requirement "$wanted" || return
    fi
    pip_run --no-build-isolation --no-deps "${editable[@]}"
}

is_installed() { [ -x "$python" ] && [ -f "$1" ] && [ "$(<"$1")" = "$2" ]; }

# ensure_installed EXTRA: make .venv and install the project with EXTRA (run or test), unless that was done.
ensure_installed() {
    local extra=$1 wanted stamp=$venv/.installed-$1 target=$root
    [ "$extra" = run ] || target="${root}[$extra]"
    wanted=$(fingerprint "$root/pyproject.toml" "$root/constraints.txt" "$root/hashes.txt")
    is_installed "$stamp" "$wanted" && return
    need_packages "${RUN_PACKAGES[@]}" || say "going on without them; the program may say which library it lacks"
    if command -v flock >/dev/null; then # two set-ups at once would spoil each other's work
        exec 9<"$root"
        flock 9
        # Closed at once when the other has done it: the program to be run must not inherit the lock.
        if is_installed "$stamp" "$wanted"; then exec 9<&- && return; fi
    fi
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        local base
        base=$(find_python)
        say "making $venv with $("$base" --version)"
        "$base" -m venv --clear "$venv" >&2 || fail "$base cannot make a venv: on Debian, apt-get install python3-venv"
    fi
    say "installing agfn-live and what it needs (about 5 GB with PyTorch; a few minutes the first time)"
    rm -f "$venv"/.installed-*
    if ! pip_install "$target"; then
        fail "pip could not install the project: see the words above, check the network and pip's settings, run again"
    fi
    echo "$wanted" >"$venv/.installed-run"
    echo "$wanted" >"$stamp"
    exec 9<&-
}

# ensure_models: fetch and verify the model files, unless that was done; the program verifies them again at each start.
ensure_models() {
    local wanted stamp=$venv/.models
    wanted=$(fingerprint "$root/models/catalogue.py")
    if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$wanted" ] && [ -d "$(tail -n 1 "$stamp")" ]; then return; fi
    # From the root, because a folder `models` where the user stands would be taken for the project's.
    (
        cd "$root"
        "$python" -m models.zoo >&2
        { echo "$wanted" && "$python" -c 'from models import zoo; print(zoo.cache())'; } >"$stamp"
    )
}
