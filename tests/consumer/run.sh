#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Compiles a program with exactly the command it is given and runs it.
# Usage: run.sh <program> <compiler and flags...> [--pkg-config]
set -euo pipefail
program=$1
shift
if [ "${!#}" = --pkg-config ]; then
  # shellcheck disable=SC2046  # several flags
  set -- "${@:1:$#-1}" $(pkg-config --cflags skim)
fi
"$@" -o "$program"
"$program"
