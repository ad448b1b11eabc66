#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds everything and runs every test: bash tests/run.sh [options of ctest, as -R laws]
# On Debian 12 it first installs what is missing. Tests that need a trained model look for it in the
# folder $SKIM_TEST_DATA and are skipped without it.
if [ -n "${SKIM_TEST_DATA:-}" ]; then
  SKIM_TEST_DATA=$(realpath -e -- "$SKIM_TEST_DATA") || exit 1 # of where the caller stands
  export SKIM_TEST_DATA
fi
cd "$(dirname "$0")/.."
source cmake/setup.sh

install_packages "${skim_packages[@]}"

say "Configuring: cmake --preset release"
cmake --preset release

say "Building tests, benchmarks and examples into build/release"
cmake --build --preset release

say "Running all tests: ctest --preset release (test data: ${SKIM_TEST_DATA:-none, see SKIM_TEST_DATA})"
passed=yes
ctest --preset release "$@" || passed=no

if [ $passed = yes ]; then
  say "All tests passed"
else
  say "Some tests failed: see above, and build/release/Testing/Temporary/LastTest.log"
  exit 1
fi
