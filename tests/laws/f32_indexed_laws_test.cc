// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type F32 with indexes beside them.
#define SKIM_LAWS_STORAGE float
#define SKIM_LAWS_SUITE(name) name##_float
#include "laws/indexed_laws.h"
