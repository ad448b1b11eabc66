// SPDX-License-Identifier: Apache-2.0
// The laws, for keys and values of type BF16 with indexes beside them.
#define SKIM_LAWS_STORAGE BF16
#define SKIM_LAWS_SUITE(name) name##_BF16
#include "laws/indexed_laws.h"
