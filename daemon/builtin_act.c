// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is done to silent peers on the builtin engine, and what guards them:
 * module/act.c in userspace.  A process that is stuck does nothing here.
 */
#include "builtin.h"

#define GUARD_MIN	8

static uint64_t act_at_ms(const struct builtin *b, const struct peer *peer)
{
	uint64_t from_ms = peer->heard_ms + peer_limit_ms(b, peer);
	uint32_t after_ms = peer->policy.act_after_ms;

	/* Others may be about to fall silent, which the guard has to see. */
	if (b->guard.percent && after_ms < b->guard.window_ms)
		after_ms = b->guard.window_ms;
	if (from_ms < b->guard.over_ms)
		from_ms = b->guard.over_ms;
	return from_ms + after_ms;
}

/**
 * act_due_ms - when to look at a silent peer because its end may be due
 * @b: the session
 * @peer: the peer
 * @now_ms: sb_now_ms()
 *
 * Return: the time, UINT64_MAX for never.
 */
uint64_t act_due_ms(const struct builtin *b, const struct peer *peer, uint64_t now_ms)
{
	uint64_t at_ms = act_at_ms(b, peer);

	if (peer->policy.action == SOCKBEAT_ACTION_NOTIFY)
		return UINT64_MAX;
	return at_ms > now_ms ? at_ms : peer_again_ms(peer, now_ms);
}

/**
 * act_check - end a silent peer's socket if it is time
 * @b: the session
 * @peer: the peer; gone afterwards, if so
 * @now_ms: sb_now_ms()
 *
 * Return: whether it was.
 */
bool act_check(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	bool abort = peer->policy.action == SOCKBEAT_ACTION_ABORT;

	if (peer->policy.action == SOCKBEAT_ACTION_NOTIFY || now_ms < act_at_ms(b, peer))
		return false;
	if (b->guard.active) {
		b->stats.acts_guarded++;
		return false;
	}
	end_socket(peer, abort ? SOCKBEAT_END_ABORT : SOCKBEAT_END_SHUTDOWN);
	if (abort)
		b->stats.aborts++;
	else
		b->stats.shutdowns++;
	peer->acted = true;
	peer_gone(b, peer);
	return true;
}

static bool exceeds(const struct builtin *b, uint32_t n, unsigned int part)
{
	uint64_t tracked = (uint64_t)b->stats.live + b->stats.silent;

	return (uint64_t)n * 100 * part > tracked * b->guard.percent;
}

/**
 * guard_silence - a peer was found silent
 * @b: the session
 * @peer: the peer
 * @now_ms: sb_now_ms()
 */
void guard_silence(struct builtin *b, const struct peer *peer, uint64_t now_ms)
{
	struct guard *guard = &b->guard;
	uint32_t half_ms = guard->window_ms / 2, n;

	if (!guard->percent)
		return;
	/* Found late, as after a stall of this process: others will be, too. */
	if (now_ms > peer->heard_ms + peer_limit_ms(b, peer) + half_ms)
		guard->over_ms = now_ms;
	if (now_ms - guard->since_ms >= half_ms) {
		guard->silences[1] = now_ms - guard->since_ms < 2ull * half_ms ?
				     guard->silences[0] : 0;
		guard->silences[0] = 0;
		guard->since_ms = now_ms;
	}
	n = ++guard->silences[0] + guard->silences[1];
	if (guard->active || n < GUARD_MIN || !exceeds(b, n, 1))
		return;
	guard->active = true;
	guard->next_ms = now_ms + guard->window_ms;
	b->stats.guards++;
}

/**
 * guard_check - find out whether the guard may end
 * @b: the session
 * @now_ms: sb_now_ms()
 */
void guard_check(struct builtin *b, uint64_t now_ms)
{
	struct guard *guard = &b->guard;

	if (!guard->active)
		return;
	/* At half of what began it, so that it does not flutter. */
	if (exceeds(b, b->stats.silent, 2)) {
		guard->next_ms = now_ms + guard->window_ms;
		return;
	}
	guard->active = false;
	guard->over_ms = now_ms;
}
