// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A timeout that follows the rhythm in which a peer is heard.
 *
 * Nothing happens when a peer is heard, so its heartbeats are found by looking:
 * half an interval after the last one, which finds a rhythm that has become
 * faster, and when the next one should have come.  That is two looks for an
 * interval, where a fixed timeout has one for a timeout.
 */
#include "adapt.h"

/* Intervals shorter than this lead to the shortest timeout in any case. */
static u64 sb_adapt_unit_ms(const struct sb_adapt_conf *conf)
{
	return conf->min_ms / conf->beats;
}

/**
 * sb_adapt_heard - take in that a peer was heard
 * @adapt: its rhythm
 * @conf: what that may lead to
 * @gap_ms: time since it was heard before, or since it was added
 *
 * Source: RFC 6298, section 2.
 */
void sb_adapt_heard(struct sb_adapt *adapt, const struct sb_adapt_conf *conf, u64 gap_ms)
{
	u64 unit_ms = sb_adapt_unit_ms(conf);
	long error_ms, off_ms;

	if (gap_ms < unit_ms)
		gap_ms = unit_ms;
	/* Too slow to be noted: what is noted would be too fast. */
	if (!adapt->samples || gap_ms >> SB_ADAPT_BITS) {
		adapt->samples = 1;
		return;
	}
	if (adapt->samples == 1) {
		adapt->interval_ms = gap_ms;
		adapt->deviation_ms = gap_ms / 2;
		adapt->samples = 2;
		return;
	}
	error_ms = (long)gap_ms - (long)adapt->interval_ms;
	off_ms = error_ms < 0 ? -error_ms : error_ms;
	adapt->deviation_ms += (off_ms - (long)adapt->deviation_ms) / 4;
	adapt->interval_ms += error_ms / 8;
	if (adapt->samples < SB_ADAPT_SAMPLES)
		adapt->samples++;
}

/**
 * sb_adapt_timeout_ms - after what silence a peer is found silent
 * @adapt: its rhythm
 * @conf: what that may lead to
 */
u32 sb_adapt_timeout_ms(const struct sb_adapt *adapt, const struct sb_adapt_conf *conf)
{
	u64 ms = (u64)conf->beats * adapt->interval_ms + (u64)4 * adapt->deviation_ms;

	if (adapt->samples < SB_ADAPT_SAMPLES)
		return conf->max_ms;
	if (ms < conf->min_ms)
		ms = conf->min_ms;
	if (ms > conf->max_ms)
		ms = conf->max_ms;
	return ms;
}

/**
 * sb_adapt_look_ms - when to look whether a peer was heard
 * @adapt: its rhythm
 * @conf: what that may lead to
 * @heard_ms: when it was heard last
 * @now_ms: now
 *
 * Return: the time, SB_ADAPT_NEVER where its timeout comes first.
 */
u64 sb_adapt_look_ms(const struct sb_adapt *adapt, const struct sb_adapt_conf *conf,
		     u64 heard_ms, u64 now_ms)
{
	u64 soonest_ms = now_ms + sb_adapt_unit_ms(conf);
	u64 when_ms = heard_ms + adapt->interval_ms / 2;

	/* Without a rhythm, finely enough to see one. */
	if (adapt->samples < 2)
		return soonest_ms;
	if (now_ms >= when_ms)
		when_ms = heard_ms + adapt->interval_ms + adapt->deviation_ms;
	if (now_ms >= when_ms)
		return SB_ADAPT_NEVER;
	if (when_ms < soonest_ms)
		when_ms = soonest_ms;
	return when_ms;
}
