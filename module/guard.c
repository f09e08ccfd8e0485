// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The mass silence guard: when so many peers fall silent at once that the fault
 * is likely this host's own, nothing is done to them until most are heard again.
 */
#include "guard.h"

/* Fewer silent peers than this are no mass. */
#define SB_GUARD_MIN	8

/* Are @n of @tracked peers more than @percent / @part? */
static bool sb_guard_exceeds(const struct sb_guard *guard, u32 n, u32 tracked, u32 part)
{
	return (u64)n * 100 * part > (u64)tracked * guard->percent;
}

/**
 * sb_guard_act_ms - when a silent peer may be ended
 * @guard: its session's
 * @silent_ms: when it fell silent
 * @after_ms: how long it has to be silent
 */
u64 sb_guard_act_ms(const struct sb_guard *guard, u64 silent_ms, u32 after_ms)
{
	/* Others may be about to fall silent, which the guard has to see. */
	if (guard->percent && after_ms < guard->window_ms)
		after_ms = guard->window_ms;
	if (silent_ms < guard->over_ms)
		silent_ms = guard->over_ms;
	return silent_ms + after_ms;
}

/**
 * sb_guard_begins - take in that a peer was found silent
 * @guard: its session's
 * @silent_ms: when it fell silent
 * @silent: silent peers of the session, this one among them
 * @tracked: live and silent ones
 * @now_ms: now
 *
 * Silences are counted in halves of a window, the present one and the last, so
 * that a mass which falls silent within half a window is seen whole.  They are no
 * more than those that are silent now: some fall silent again and again.
 *
 * Return: whether the guard has become active by it.
 */
bool sb_guard_begins(struct sb_guard *guard, u64 silent_ms, u32 silent, u32 tracked, u64 now_ms)
{
	u32 half_ms = guard->window_ms / 2, n;

	if (!guard->percent)
		return false;
	/* Found late, as after a stall, and not by the wheel's grain: others will
	 * be, too.
	 */
	if (now_ms > silent_ms + half_ms && now_ms > silent_ms + guard->grain_ms)
		guard->over_ms = now_ms;
	if (now_ms - guard->since_ms >= half_ms) {
		guard->silences[1] = now_ms - guard->since_ms < 2 * half_ms ?
				     guard->silences[0] : 0;
		guard->silences[0] = 0;
		guard->since_ms = now_ms;
	}
	guard->silences[0]++;
	n = guard->silences[0] + guard->silences[1];
	if (n > silent)
		n = silent;
	if (guard->active || n < SB_GUARD_MIN || !sb_guard_exceeds(guard, n, tracked, 1))
		return false;
	guard->active = true;
	return true;
}

/**
 * sb_guard_ends - end an active guard if it is time
 * @guard: the guard, active
 * @silent: silent peers of the session
 * @tracked: live and silent ones
 * @now_ms: now
 *
 * Return: whether it was; where not, ask again after a window.
 */
bool sb_guard_ends(struct sb_guard *guard, u32 silent, u32 tracked, u64 now_ms)
{
	/* At half of what began it, so that it does not flutter. */
	if (guard->percent && sb_guard_exceeds(guard, silent, tracked, 2))
		return false;
	guard->active = false;
	guard->over_ms = now_ms;
	return true;
}
