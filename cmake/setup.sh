# SPDX-License-Identifier: Apache-2.0
#
# Sourced by tests/run.sh and examples/run.sh: what both need before they can start.
set -euo pipefail

# What our own build needs, as Debian 12 names it. Users of the library need only libhwy-dev.
skim_packages=(
  g++ cmake ninja-build pkg-config         # the build
  libhwy-dev                               # SIMD, the library's one dependency
  libeigen3-dev                            # skim/eigen.h and the examples
  libgtest-dev libbenchmark-dev libcli11-dev libopenblas-dev
  gnuplot-nox                              # figures
)

say() { printf '\n== %s\n' "$*"; }

# install_packages <package...>: installs what is missing, or says what to install and stops.
install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "This is not a Debian system: the equivalents of these must be here: $*"
    return
  fi

  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "All packages are installed: $*"
    return
  fi

  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q)
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "These packages are missing, and installing them needs root. Please run:"
      echo "   sudo apt-get install ${missing[*]}"
      exit 1
    fi
    apt=(sudo -n "${apt[@]}")
  fi
  say "Installing: ${missing[*]}"
  "${apt[@]}" update >/dev/null
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
}
