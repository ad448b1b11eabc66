#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Does every program fail, and say so, when stdout does not take what it prints?
#   bash tests/examples/streams.sh PROGRAM...
set -uo pipefail
failures=0
fail() {
  echo "$*"
  failures=$((failures + 1))
}

for program; do
  case $(basename "$program") in
    decode_step | generate | compare | nc_study | lsh_study | train) arguments=--help ;;
    *) arguments= ;;
  esac
  # shellcheck disable=SC2086
  said=$("$program" $arguments 2>&1 > /dev/full) && fail "$program: exit code 0, stdout is full"
  grep -q '^cannot write to stdout: ' <<< "$said" || fail "$program, stdout is full: $said"
done
# shellcheck disable=SC2086
said=$("$program" $arguments 2>&1 >&-) && fail "$program: exit code 0, stdout is closed"
grep -q '^cannot write to stdout: ' <<< "$said" || fail "$program, stdout is closed: $said"
exit $((failures > 0))
