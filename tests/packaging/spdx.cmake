# SPDX-License-Identifier: Apache-2.0
#
# Every file that can carry a comment names its licence in one of its first three lines.
# Usage: cmake -D ROOT=<checkout> -P spdx.cmake
cmake_minimum_required(VERSION 3.25)

file(GLOB files LIST_DIRECTORIES false ${ROOT}/* ${ROOT}/.*)
foreach(folder IN ITEMS include tests bench examples cmake .ci .github)
  file(GLOB_RECURSE found LIST_DIRECTORIES false ${ROOT}/${folder}/*)
  list(APPEND files ${found})
endforeach()
list(FILTER files INCLUDE REGEX
     "(\\.(h|cc|cmake|in|sh|awk|gp|md)|/CMakeLists\\.txt|/CMakePresets\\.json|/\\.clang-format|/\\.gitignore|/run)$")

set(wrong 0)
foreach(file IN LISTS files)
  file(READ ${file} text)
  if(NOT text MATCHES "^([^\n]*\n)?([^\n]*\n)?[^\n]*SPDX-License-Identifier[^\n]*Apache-2\\.0")
    message("no SPDX line in ${file}")
    math(EXPR wrong "${wrong} + 1")
  endif()
endforeach()

list(LENGTH files count)
message("${count} files read")
if(wrong GREATER 0 OR count EQUAL 0)
  message(FATAL_ERROR "${wrong} files do not name their licence in their first three lines")
endif()
