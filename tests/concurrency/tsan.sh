#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The tests of threads under ThreadSanitizer: bash tests/concurrency/tsan.sh
# It knows std::thread. What OpenMP's threads wait for it learns from Archer, a tool of clang's OpenMP (libomp-dev).
cd "$(dirname "$0")/../.."
source cmake/setup.sh

archer=$(find /usr/lib/llvm-*/lib -name libarcher.so 2>/dev/null | sort -V | tail -1 || true)
if [ -z "$archer" ]; then
  say "libarcher.so is missing (libomp-dev): without it every OpenMP barrier looks like a race"
  exit 1
fi
export OMP_TOOL_LIBRARIES=$archer
export TSAN_OPTIONS=ignore_noninstrumented_modules=1
cmake --workflow --preset tsan
