/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * A timeout that follows the rhythm in which a peer is heard, built into the
 * module and into the daemon's builtin engine.
 *
 * Mean and mean deviation of the intervals are those of RFC 6298 (Jacobson),
 * which TCP uses for its retransmission timeout: gains of 1/8 and 1/4, and a
 * margin of four deviations.  What is timed is not a round trip but the time
 * between two heartbeats, and several of them have to be missing.
 */
#ifndef _SOCKBEAT_ADAPT_H
#define _SOCKBEAT_ADAPT_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include "wheel.h"
#endif

/* Bits that an interval takes: a rhythm slower than 2 h 19 min is none. */
#define SB_ADAPT_BITS		23

/* As many times has a peer to be heard before its rhythm counts. */
#define SB_ADAPT_SAMPLES	5

#define SB_ADAPT_NEVER		(~(u64)0)

/**
 * struct sb_adapt - the rhythm of one peer
 * @interval_ms: mean time between two heartbeats
 * @deviation_ms: mean deviation from it
 * @samples: times it was heard, no more than SB_ADAPT_SAMPLES are counted;
 *	     the first begins an interval, the second ends one
 */
struct sb_adapt {
	u32 interval_ms;
	u32 deviation_ms;
	u32 samples;
};

/**
 * struct sb_adapt_conf - what a rhythm may lead to
 * @beats: intervals that make a timeout, 1 or more
 * @min_ms: shortest timeout
 * @max_ms: longest timeout, and the one while there is no rhythm
 */
struct sb_adapt_conf {
	u32 beats;
	u32 min_ms;
	u32 max_ms;
};

void sb_adapt_heard(struct sb_adapt *adapt, const struct sb_adapt_conf *conf, u64 gap_ms);
u32 sb_adapt_timeout_ms(const struct sb_adapt *adapt, const struct sb_adapt_conf *conf);
u64 sb_adapt_look_ms(const struct sb_adapt *adapt, const struct sb_adapt_conf *conf,
		     u64 heard_ms, u64 now_ms);

#endif /* _SOCKBEAT_ADAPT_H */
