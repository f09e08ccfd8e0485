/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The mass silence guard, built into the module and into the daemon's builtin
 * engine.
 */
#ifndef _SOCKBEAT_GUARD_H
#define _SOCKBEAT_GUARD_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include "wheel.h"
#endif

/**
 * struct sb_guard - the mass silence guard of a session, which serialises calls
 * @percent: of the peers that may fall silent within the window; 0 for no guard
 * @window_ms: the window
 * @grain_ms: a silence is found later than it began by so much where nothing is
 *	      wrong; constant
 * @since_ms: beginning of the present half of the window
 * @silences: in the present half, and in the one before
 * @over_ms: when it last ended, or silences were found late: the time before
 *	     is not held against a peer
 * @active: nothing is done to silent peers now
 * @told: what the holder was told of @active
 */
struct sb_guard {
	u32 percent;
	u32 window_ms;
	u32 grain_ms;
	u64 since_ms;
	u32 silences[2];
	u64 over_ms;
	bool active;
	bool told;
};

u64 sb_guard_act_ms(const struct sb_guard *guard, u64 silent_ms, u32 after_ms);
bool sb_guard_begins(struct sb_guard *guard, u64 silent_ms, u32 silent, u32 tracked, u64 now_ms);
bool sb_guard_ends(struct sb_guard *guard, u32 silent, u32 tracked, u64 now_ms);

#endif /* _SOCKBEAT_GUARD_H */
