#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Which lines of include/skim do the quick tests run? bash tests/coverage.sh
# Builds the tests of the library by clang into build/coverage, runs them, and prints each header's share of lines and,
# below, the lines that no test has run. By hand: it takes about as long as tests/run.sh. A template that nothing
# instantiates has no lines to count; a header of which no line is known is named.
cd "$(dirname "$0")/.."
source cmake/setup.sh
install_packages "${skim_packages[@]}" clang llvm libclang-rt-dev libomp-dev

# Every program of the library's own tests that is there: those of the examples run no header that these leave out.
build=build/coverage
say "Configuring: cmake --preset coverage"
cmake --preset coverage >/dev/null
mapfile -t programs < <(cmake --build $build --target help |
  sed -n 's/^\(test_[a-z_]*\): phony$/\1/p' |
  grep -v -e _slow$ -e ^test_support$ -e '^test_\(examples\|trainer\|compare\|nc_study\|lsh_study\|bench\)$')
say "Building ${programs[*]}"
cmake --build $build --target "${programs[@]}"

say "Running them"
rm -rf $build/profiles
names=$(printf '%s\n' "${programs[@]#test_}" | paste -sd'|')
LLVM_PROFILE_FILE=$PWD/$build/profiles/%p.profraw ctest --test-dir $build -j 2 -R "^($names)$" --output-on-failure
llvm-profdata merge -sparse $build/profiles/*.profraw -o $build/all.profdata

objects=()
for program in "${programs[@]}"; do objects+=(-object "$(find $build/tests -type f -name "$program")"); done
mapfile -t headers < <(find include/skim -name '*.h' | sort)

say "Lines of include/skim that the quick tests run"
llvm-cov export -format=lcov -instr-profile $build/all.profdata "${objects[@]}" "${headers[@]}" >$build/lines.info
awk -v root="$PWD/" -v headers="${headers[*]}" -f tests/coverage.awk $build/lines.info
