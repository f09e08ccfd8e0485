// SPDX-License-Identifier: GPL-2.0-only
/* The arithmetic of timeouts that follow a peer's rhythm. */
#include <stdlib.h>
#include "adapt.h"
#include "harness.h"

static const struct sb_adapt_conf conf = { .beats = 3, .min_ms = 3000, .max_ms = 90000 };

/* A steady 10 s beat is missed after about three, though the limit is 90 s. */
TEST(steady)
{
	struct sb_adapt adapt = { 0 };
	u32 before_ms = 90000, ms;
	int i;

	for (i = 0; i < 4; i++) {
		EXPECT_EQ(90000, sb_adapt_timeout_ms(&adapt, &conf));
		sb_adapt_heard(&adapt, &conf, 10000);
	}
	for (; i < 40; i++) {
		sb_adapt_heard(&adapt, &conf, 10000);
		ms = sb_adapt_timeout_ms(&adapt, &conf);
		EXPECT_GE(before_ms, ms);
		EXPECT_LE(30000, ms);
		before_ms = ms;
	}
	EXPECT_GE(30100, before_ms);
	EXPECT_EQ(10000, adapt.interval_ms);
}

/* The figures that RFC 6298 gives for a first and a second sample. */
TEST(rfc_6298)
{
	struct sb_adapt adapt = { .samples = 1 };

	sb_adapt_heard(&adapt, &conf, 8000);
	EXPECT_EQ(8000, adapt.interval_ms);
	EXPECT_EQ(4000, adapt.deviation_ms);
	sb_adapt_heard(&adapt, &conf, 16000);
	EXPECT_EQ(8000 + 8000 / 8, adapt.interval_ms);
	EXPECT_EQ(4000 + (8000 - 4000) / 4, adapt.deviation_ms);
	sb_adapt_heard(&adapt, &conf, 1000);
	EXPECT_EQ(9000 - 8000 / 8, adapt.interval_ms);
	EXPECT_EQ(5000 + (8000 - 5000) / 4, adapt.deviation_ms);
}

/* Whatever comes, the timeout is within its bounds, and a live peer whose
 * intervals vary by a third is never called silent.
 */
TEST(jitter)
{
	struct sb_adapt adapt = { 0 };
	u32 gap_ms, ms;
	int i;

	srandom(1);
	for (i = 0; i < 100000; i++) {
		gap_ms = 10000 + random() % 6666 - 3333;
		if (adapt.samples == SB_ADAPT_SAMPLES)
			ASSERT_LT(gap_ms, sb_adapt_timeout_ms(&adapt, &conf));
		sb_adapt_heard(&adapt, &conf, gap_ms);
	}
	for (i = 0; i < 100000; i++) {
		sb_adapt_heard(&adapt, &conf, random() % (1 << (random() % 31)));
		ms = sb_adapt_timeout_ms(&adapt, &conf);
		ASSERT_LE(conf.min_ms, ms);
		ASSERT_GE(conf.max_ms, ms);
	}
}

/* What is slower than can be noted has no rhythm, and the whole timeout. */
TEST(too_slow)
{
	struct sb_adapt_conf week = { .beats = 3, .min_ms = 3000, .max_ms = 604800000 };
	struct sb_adapt adapt = { 0 };
	int i;

	for (i = 0; i < 20; i++)
		sb_adapt_heard(&adapt, &week, (1 << SB_ADAPT_BITS) - 1);
	EXPECT_EQ((1 << SB_ADAPT_BITS) - 1, adapt.interval_ms);
	EXPECT_GT(604800000, sb_adapt_timeout_ms(&adapt, &week));
	sb_adapt_heard(&adapt, &week, 1 << SB_ADAPT_BITS);
	EXPECT_EQ(604800000, sb_adapt_timeout_ms(&adapt, &week));
}

/* Two looks for an interval, and none behind the second. */
TEST(looks)
{
	struct sb_adapt adapt = { .interval_ms = 10000, .deviation_ms = 500, .samples = 5 };

	EXPECT_EQ(105000, sb_adapt_look_ms(&adapt, &conf, 100000, 100000));
	EXPECT_EQ(110500, sb_adapt_look_ms(&adapt, &conf, 100000, 105000));
	EXPECT_EQ(SB_ADAPT_NEVER, sb_adapt_look_ms(&adapt, &conf, 100000, 110500));
	/* Never sooner than could matter. */
	EXPECT_EQ(105999, sb_adapt_look_ms(&adapt, &conf, 100000, 104999));
	adapt.samples = 1;
	EXPECT_EQ(101000, sb_adapt_look_ms(&adapt, &conf, 100000, 100000));
}

/* A rhythm that becomes faster is found by looking early. */
TEST(faster)
{
	struct sb_adapt adapt = { .interval_ms = 32000, .deviation_ms = 10, .samples = 5 };
	u64 heard_ms = 0, now_ms = 0, news_ms = 0, look_ms;
	int i;

	for (i = 0; i < 200; i++) {
		look_ms = sb_adapt_look_ms(&adapt, &conf, heard_ms, now_ms);
		if (look_ms == SB_ADAPT_NEVER)
			look_ms = heard_ms + sb_adapt_timeout_ms(&adapt, &conf);
		now_ms = look_ms;
		news_ms = now_ms / 2000 * 2000;
		if (news_ms <= heard_ms)
			continue;
		sb_adapt_heard(&adapt, &conf, news_ms - heard_ms);
		heard_ms = news_ms;
	}
	EXPECT_GE(4000, adapt.interval_ms);
}

TEST_HARNESS_MAIN
