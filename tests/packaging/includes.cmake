# SPDX-License-Identifier: Apache-2.0
#
# Includes point down only. A file may include its own floor and those below it.
# Usage: cmake -D ROOT=<checkout> -P includes.cmake
cmake_minimum_required(VERSION 3.25)

# From the bottom up. The user's files, include/skim/*.h, are the top floor.
set(floors core kernel index estimator attend train)
list(LENGTH floors user_floor)

file(GLOB_RECURSE headers RELATIVE ${ROOT}/include/skim ${ROOT}/include/skim/*.h)
if(NOT headers)
  message(FATAL_ERROR "no headers in ${ROOT}/include/skim")
endif()

set(wrong 0)
macro(complain text)
  message("include/skim/${header}: ${text}")
  math(EXPR wrong "${wrong} + 1")
endmacro()

# Sets `variable` to the floor of a path below include/skim, -1 if its folder is none of them.
function(floor_of path variable)
  set(floor ${user_floor})
  if(path MATCHES "^([^/]+)/")
    list(FIND floors ${CMAKE_MATCH_1} floor)
  endif()
  set(${variable} ${floor} PARENT_SCOPE)
endfunction()

foreach(header IN LISTS headers)
  floor_of(${header} floor)
  if(floor EQUAL -1)
    complain("its folder is on no floor; give it one in tests/packaging/includes.cmake")
  endif()

  file(STRINGS ${ROOT}/include/skim/${header} lines REGEX "^[ \t]*#[ \t]*include")
  foreach(line IN LISTS lines)
    if(line MATCHES "[\"<]skim/([^\">]+)[\">]")
      set(included ${CMAKE_MATCH_1})
      floor_of(${included} included_floor)
      if(NOT EXISTS ${ROOT}/include/skim/${included})
        complain("includes skim/${included}, which does not exist")
      elseif(included_floor GREATER floor)
        complain("includes skim/${included}, which is above it")
      endif()
    elseif(line MATCHES "[\"<](hwy/|Eigen/|omp\\.h|sys/)")
      set(library ${CMAKE_MATCH_1})
      if(library STREQUAL hwy/ AND floor EQUAL 0)
        complain("core knows no SIMD, but includes Highway")
      elseif(library STREQUAL Eigen/ AND NOT header STREQUAL eigen.h)
        complain("includes Eigen; only eigen.h may")
      elseif(library STREQUAL omp.h AND NOT header STREQUAL openmp.h)
        complain("includes omp.h; only openmp.h may")
      elseif(library STREQUAL sys/ AND NOT header STREQUAL arena.h)
        complain("includes sys/; only arena.h may")
      endif()
    elseif(line MATCHES "include[ \t]*\"")
      complain("is not written as \"skim/...\": ${line}")
    endif()
  endforeach()

  # A question, not an error: is it one concept?
  file(READ ${ROOT}/include/skim/${header} text)
  string(REGEX MATCHALL "\n" newlines "${text}")
  list(LENGTH newlines length)
  if(length GREATER 400)
    message("warning: include/skim/${header} has ${length} lines")
  endif()
endforeach()

if(wrong GREATER 0)
  message(FATAL_ERROR "${wrong} wrong includes")
endif()
