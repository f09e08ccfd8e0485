// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is done to silent peers on the builtin engine, and what guards them:
 * module/act.c in userspace.  A process that is stuck does nothing here.
 */
#include "builtin.h"

/* As the module: when to look again at a peer that was not ended. */
#define RETRY_MS	1000

static uint64_t silent_ms(const struct builtin *b, const struct peer *peer)
{
	return peer->heard_ms + peer_limit_ms(b, peer);
}

static uint64_t act_at_ms(const struct builtin *b, const struct peer *peer)
{
	return sb_guard_act_ms(&b->guard, silent_ms(b, peer), peer->policy.act_after_ms);
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
	uint64_t at_ms = act_at_ms(b, peer), retry_ms = RETRY_MS;

	if (peer->policy.action == SOCKBEAT_ACTION_NOTIFY)
		return UINT64_MAX;
	if (at_ms > now_ms)
		return at_ms;
	/* A guard may hold a mass of them; its end gives them a window's time. */
	if (b->guard.active && b->guard.window_ms > RETRY_MS)
		retry_ms = b->guard.window_ms;
	/* A look is also when a level-triggered peer is told again. */
	if (peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL && peer->policy.renotify_ms < retry_ms)
		retry_ms = peer->policy.renotify_ms;
	return now_ms + retry_ms;
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
	peer->acted = peer->policy.action;
	peer_gone(b, peer);
	return true;
}

/**
 * act_silence - a peer was found silent
 * @b: the session
 * @peer: the peer
 * @now_ms: sb_now_ms()
 */
void act_silence(struct builtin *b, const struct peer *peer, uint64_t now_ms)
{
	if (!sb_guard_begins(&b->guard, silent_ms(b, peer), b->stats.silent,
			     b->stats.live + b->stats.silent, now_ms))
		return;
	b->guard_next_ms = now_ms + b->guard.window_ms;
	b->stats.guards++;
}

/**
 * act_guard - find out whether the guard may end
 * @b: the session
 * @now_ms: sb_now_ms()
 */
void act_guard(struct builtin *b, uint64_t now_ms)
{
	if (b->guard.active &&
	    !sb_guard_ends(&b->guard, b->stats.silent, b->stats.live + b->stats.silent, now_ms))
		b->guard_next_ms = now_ms + b->guard.window_ms;
}
