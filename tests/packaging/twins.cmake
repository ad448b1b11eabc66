# SPDX-License-Identifier: Apache-2.0
#
# Every header has a test of the same stem in the same place: core/budget.h and tests/core/budget*,
# kernel/score-inl.h and tests/kernel/score*.
# Usage: cmake -D ROOT=<checkout> -P twins.cmake
cmake_minimum_required(VERSION 3.25)

file(GLOB_RECURSE headers RELATIVE ${ROOT}/include/skim ${ROOT}/include/skim/*/*.h)
set(wrong 0)
foreach(header IN LISTS headers)
  string(REGEX REPLACE "(-inl)?\\.h$" "" stem ${header})
  file(GLOB tests ${ROOT}/tests/${stem}*)
  if(NOT tests)
    message("include/skim/${header} has no test tests/${stem}*")
    math(EXPR wrong "${wrong} + 1")
  endif()
endforeach()

if(wrong GREATER 0 OR NOT headers)
  message(FATAL_ERROR "${wrong} headers without a test")
endif()
