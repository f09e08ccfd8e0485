/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's test harness, with more patience: an emulated kernel full of
 * debugging takes minutes for what takes seconds elsewhere.
 */
#ifndef SELFTESTS_HARNESS_H
#define SELFTESTS_HARNESS_H

#include <stdbool.h>
#include <stdlib.h>

#include "../kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240

/* Such a kernel, as the runner says. */
static inline bool is_slow(void)
{
	return getenv("SOCKBEAT_TEST_SLOW");
}

#endif /* SELFTESTS_HARNESS_H */
