// SPDX-License-Identifier: Apache-2.0
// What must be settled before anything else is compiled: the version, the compiler flags that skim
// refuses, and the settings Highway has to see before its own first include.
#ifndef SKIM_CORE_CONFIG_H_
#define SKIM_CORE_CONFIG_H_

// The one source of the version; CMake reads these lines.
#define SKIM_VERSION_MAJOR 0
#define SKIM_VERSION_MINOR 1
#define SKIM_VERSION_PATCH 0

// Both flags let the compiler assume that no value is infinite, which deletes the guards that make an
// empty set give lse = -inf. There is no escape: the result would be wrong, not slow.
#if defined(__FAST_MATH__)
#error "skim: compiled with -ffast-math, which deletes the guards on infinity; remove the flag"
#elif defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "skim: compiled with -ffinite-math-only, which deletes the guards on infinity; remove the flag"
#endif

// Highway 1.0.3 answers `-march=native` on a VNNI machine with an #error unless this is set, and falls
// back to SSSE3 on flags without AES (haswell, x86-64-v3) unless told to do without it.
#if !defined(HWY_WANT_AVX3_DL)
#define HWY_WANT_AVX3_DL
#endif
#if !(defined(__AES__) && defined(__PCLMUL__)) && !defined(HWY_DISABLE_PCLMUL_AES)
#define HWY_DISABLE_PCLMUL_AES
#endif

// The machine is part of every name of skim, in its inline namespace: the linker then never takes an inline
// function from a translation unit that was compiled for a newer machine.
#if defined(__AVX512VBMI2__)
#define SKIM_ABI v0_1_avx512_vbmi2
#elif defined(__AVX512BW__) && defined(__AVX512VL__)
#define SKIM_ABI v0_1_avx512
#elif defined(__AVX2__)
#define SKIM_ABI v0_1_avx2
#elif defined(__AVX__)
#define SKIM_ABI v0_1_avx
#else
#define SKIM_ABI v0_1
#endif

#if defined(__GNUC__)
#define SKIM_COLD __attribute__((cold, noinline))
#else
#define SKIM_COLD
#endif

#endif  // SKIM_CORE_CONFIG_H_
