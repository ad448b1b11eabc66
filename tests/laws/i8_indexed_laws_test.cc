// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type I8 with indexes beside them.
#define SKIM_LAWS_STORAGE I8
#define SKIM_LAWS_SUITE(name) name##_I8
#include "laws/indexed_laws.h"
