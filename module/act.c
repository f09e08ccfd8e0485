// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel does by itself to a peer that stays silent, so that the dead
 * peers of a process that is stuck are cleared all the same, and the guard that
 * keeps it from doing so when the fault is this host's own.
 *
 * The tick finds who is due.  To end a socket takes the socket's lock, which a
 * thread may keep for as long as it likes: a socket that is in use then is
 * tried again later, and the rest is handed to a work item of the session's
 * user, so that whoever manages to block it blocks only what is his.
 */
#include <net/sock.h>

#include "sockbeat.h"
#include "trace.h"

/* When to look again at a peer that could not be ended. */
#define SB_ACT_RETRY_MS		1000

/* When a silent peer has fallen silent. */
static u64 sb_act_silent_ms(const struct sb_peer *peer)
{
	return peer->heard_ms + sb_peer_limit_ms(peer);
}

/* The time at which it is, or was, to be ended. */
static u64 sb_act_at_ms(const struct sb_peer *peer)
{
	return sb_guard_act_ms(&peer->session->guard, sb_act_silent_ms(peer),
			       peer->policy.act_after_ms);
}

/**
 * sb_act_due_ms - when to look at a silent peer because the kernel may act
 * @peer: the peer
 *
 * Context: session->lock held.
 * Return: the time, U64_MAX for never.
 */
u64 sb_act_due_ms(const struct sb_peer *peer)
{
	u64 now_ms = sb_now_ms(), at_ms = sb_act_at_ms(peer);

	if (peer->policy.action == SOCKBEAT_ACTION_NOTIFY)
		return U64_MAX;
	if (at_ms > now_ms)
		return at_ms;
	/* A look is also when a level-triggered peer is told again. */
	if (peer->pending == SB_TELL_NOTHING &&
	    peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL)
		return now_ms + peer->policy.renotify_ms;
	return now_ms + SB_ACT_RETRY_MS;
}

/**
 * sb_act_check - have a silent peer's socket ended if it is time
 * @peer: the peer, at most SB_CHECK_CHUNK before the next sb_act_run()
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held, the session's work.
 */
void sb_act_check(struct sb_peer *peer, u64 now_ms)
{
	struct sb_session *session = peer->session;
	struct sb_act *act;

	if (peer->policy.action == SOCKBEAT_ACTION_NOTIFY || peer->acting ||
	    now_ms < sb_act_at_ms(peer))
		return;
	if (session->guard.active) {
		session->stats.acts_guarded++;
		return;
	}
	if (WARN_ON_ONCE(session->n_act == ARRAY_SIZE(session->act)))
		return;
	act = &session->act[session->n_act++];
	act->sk = peer->sk;
	act->end = peer->policy.action == SOCKBEAT_ACTION_SHUTDOWN ?
		   SOCKBEAT_END_SHUTDOWN : SOCKBEAT_END_ABORT;
	sock_hold(act->sk);
	peer->acting = true;
}

static bool sb_act_is_owned(struct sock *sk)
{
	bool owned;

	local_bh_disable();
	bh_lock_sock(sk);
	owned = sock_owned_by_user(sk);
	bh_unlock_sock(sk);
	local_bh_enable();
	return owned;
}

/* The sockets that are free come first then. */
static unsigned int sb_act_sort(struct sb_session *session)
{
	unsigned int i, n = 0;

	for (i = 0; i < session->n_act; i++) {
		if (sb_act_is_owned(session->act[i].sk))
			continue;
		swap(session->act[n], session->act[i]);
		n++;
	}
	return n;
}

/**
 * sb_act_run - end the sockets that sb_act_check() found
 * @session: the session
 *
 * Context: process, may sleep; the session's work.
 */
void sb_act_run(struct sb_session *session)
{
	struct sb_later *later = NULL;
	unsigned int i, n;

	if (!session->n_act)
		return;
	n = sb_act_sort(session);
	if (n)
		later = sb_later_new(n);
	if (!later)
		n = 0;
	for (i = 0; i < session->n_act; i++) {
		struct sb_act *act = &session->act[i];

		if (i < n) {
			sb_later_end(later, act->sk, act->end);
			continue;
		}
		sb_act_end(act->sk);
		sock_put(act->sk);
	}
	if (later)
		sb_later_queue(later, session->user);
	spin_lock_bh(&session->lock);
	session->stats.acts_deferred += session->n_act - n;
	spin_unlock_bh(&session->lock);
	session->n_act = 0;
}

static void sb_act_count(struct sb_peer *peer, enum sockbeat_end end)
{
	if (end == SOCKBEAT_END_SHUTDOWN)
		peer->session->stats.shutdowns++;
	else
		peer->session->stats.aborts++;
	trace_sockbeat_act(peer, end);
}

/* Begin or be done with a socket; false where its peer is not waiting for it. */
static bool sb_act_step(struct sock *sk, enum sockbeat_end end, bool done)
{
	struct sb_peer *peer;
	bool found = false;

	rcu_read_lock();
	peer = sb_hook_find(sk);
	if (peer) {
		spin_lock_bh(&peer->session->lock);
		found = peer->sk == sk && peer->acting;
		if (found && done)
			peer->acting = false;
		else if (found)
			sb_act_count(peer, end);
		spin_unlock_bh(&peer->session->lock);
	}
	rcu_read_unlock();
	return found;
}

/**
 * sb_act_begin - whether a socket still has to be ended
 * @sk: the socket, from sb_act_check()
 * @end: how
 *
 * Its peer may have been heard, deleted or recycled in the meantime.
 *
 * Context: process.
 */
bool sb_act_begin(struct sock *sk, enum sockbeat_end end)
{
	return sb_act_step(sk, end, false);
}

/**
 * sb_act_end - the end of a socket was tried
 * @sk: the socket, from sb_act_check()
 *
 * Context: process.
 */
void sb_act_end(struct sock *sk)
{
	sb_act_step(sk, SOCKBEAT_END_NONE, true);
}

static u32 sb_act_tracked(const struct sb_session *session)
{
	return session->stats.count[SOCKBEAT_STATE_LIVE] +
	       session->stats.count[SOCKBEAT_STATE_SILENT];
}

/**
 * sb_act_silence - a peer was found silent
 * @peer: the peer
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held, the session's work.
 */
void sb_act_silence(struct sb_peer *peer, u64 now_ms)
{
	struct sb_session *session = peer->session;

	if (!sb_guard_begins(&session->guard, sb_act_silent_ms(peer),
			     sb_act_tracked(session), now_ms))
		return;
	session->stats.guards++;
	wake_up_interruptible_poll(&session->wait, EPOLLIN);
}

/**
 * sb_act_guard - find out whether the guard may end
 * @session: the session
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held, the session's work.
 * Return: when to ask again, U64_MAX where there is nothing to ask.
 */
u64 sb_act_guard(struct sb_session *session, u64 now_ms)
{
	struct sb_guard *guard = &session->guard;

	if (!guard->active)
		return U64_MAX;
	if (!sb_guard_ends(guard, session->stats.count[SOCKBEAT_STATE_SILENT],
			   sb_act_tracked(session), now_ms))
		return now_ms + guard->window_ms;
	wake_up_interruptible_poll(&session->wait, EPOLLIN);
	return U64_MAX;
}
