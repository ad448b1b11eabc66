# SPDX-License-Identifier: Apache-2.0
#
# How we compile our own tests, benchmarks and examples. Users of skim::skim see none of this.
# The presets also turn warnings into errors, with CMAKE_COMPILE_WARNING_AS_ERROR.
set(SKIM_MARCH
    native
    CACHE STRING "Machine for which our own build is compiled (-march=...)")

# skim_plain is for code that chooses its machine itself.
add_library(skim_plain INTERFACE)
target_link_libraries(skim_plain INTERFACE skim::skim)
target_compile_options(skim_plain INTERFACE -Wall -Wextra -Wconversion -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  # g++ 12 warns of every "text" + std::string at -O3 (its bug 105651).
  target_compile_options(skim_plain INTERFACE -Wno-restrict)
endif()

add_library(skim_dev INTERFACE)
target_link_libraries(skim_dev INTERFACE skim_plain)
target_compile_options(skim_dev INTERFACE -march=${SKIM_MARCH})

set(CMAKE_CXX_EXTENSIONS OFF) # -std=c++20, as users write it

# A build type is always set: unoptimised SIMD code is of no use to anybody.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# Tests and examples are optimised as README's users do it; at -O3 g++ takes twice as long. Benchmarks are left as they are.
# g++ 12 takes its own AVX-512 functions for uninitialised (its bug 105593).
set(as_users $<$<CONFIG:Release>:-O2> $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)

# Several files compiled as one instantiate once what they share. A local name of one shadows a global one of another, and
# g++ takes them for headers, which should not have parts of internal linkage: neither matters. To be linked last.
add_library(skim_together INTERFACE)
target_compile_options(skim_together INTERFACE -Wno-shadow $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
