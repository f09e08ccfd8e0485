/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's test harness, with more patience: an emulated kernel full of
 * debugging takes minutes for what takes seconds elsewhere.
 */
#ifndef SELFTESTS_HARNESS_H
#define SELFTESTS_HARNESS_H

#include "../kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240

#endif /* SELFTESTS_HARNESS_H */
