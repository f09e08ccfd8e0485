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
#include <linux/math64.h>
#include <linux/slab.h>
#include <net/tcp.h>

#include "sockbeat.h"
#include "trace.h"

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

static bool sb_act_is_due(const struct sb_peer *peer, u64 now_ms)
{
	return peer->policy.action != SOCKBEAT_ACTION_NOTIFY && now_ms >= sb_act_at_ms(peer);
}

/* Of a silence that is told again, how much since that was due last. */
static u32 sb_act_since_told_ms(const struct sb_peer *peer, u64 now_ms)
{
	u32 since_ms;

	div_u64_rem(now_ms - sb_act_silent_ms(peer), peer->policy.renotify_ms, &since_ms);
	return since_ms;
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
	const struct sb_guard *guard = &peer->session->guard;
	u64 now_ms = sb_now_ms(), at_ms = sb_act_at_ms(peer);
	u32 until_told_ms;

	if (peer->policy.action == SOCKBEAT_ACTION_NOTIFY)
		return U64_MAX;
	if (at_ms > now_ms)
		return at_ms;
	/* A guard may hold a mass of them; its end gives them a window's time. */
	if (guard->active)
		return now_ms + max_t(u32, SB_ACT_RETRY_MS, guard->window_ms);
	if (peer->policy.trigger == SOCKBEAT_TRIGGER_EDGE)
		return now_ms + SB_ACT_RETRY_MS;
	/* One look does for both rather than that the next try tells too late. */
	until_told_ms = peer->policy.renotify_ms - sb_act_since_told_ms(peer, now_ms);
	if (until_told_ms >= 2 * SB_ACT_RETRY_MS)
		return now_ms + SB_ACT_RETRY_MS;
	return now_ms + max_t(u32, SB_ACT_RETRY_MS, until_told_ms);
}

/**
 * sb_act_is_told - whether a look at a silent peer is one that tells of it again
 * @peer: a level-triggered peer
 * @now_ms: sb_now_ms()
 *
 * Tries to end a peer may come more often than its renotify_ms: of them tells the
 * first one of each such time of its silence.
 *
 * Context: session->lock held.
 */
bool sb_act_is_told(const struct sb_peer *peer, u64 now_ms)
{
	return !sb_act_is_due(peer, now_ms) || peer->session->guard.active ||
	       sb_act_since_told_ms(peer, now_ms) < SB_ACT_RETRY_MS;
}

/* What is to be done to a peer by now. */
static enum sockbeat_end sb_act_wanted(const struct sb_peer *peer, u64 now_ms)
{
	struct sb_session *session = peer->session;

	if (peer->state != SOCKBEAT_STATE_SILENT || !sb_act_is_due(peer, now_ms))
		return SOCKBEAT_END_NONE;
	if (session->guard.active) {
		session->stats.acts_guarded++;
		return SOCKBEAT_END_NONE;
	}
	return peer->policy.action == SOCKBEAT_ACTION_SHUTDOWN ?
	       SOCKBEAT_END_SHUTDOWN : SOCKBEAT_END_ABORT;
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

	if (peer->acting)
		return;
	if (sb_act_wanted(peer, now_ms) == SOCKBEAT_END_NONE) {
		peer->deferred = false;
		return;
	}
	if (WARN_ON_ONCE(session->n_act == ARRAY_SIZE(session->act)))
		return;
	sock_hold(peer->sk);
	session->act[session->n_act++] = peer->sk;
	peer->acting = true;
}

/**
 * enum sb_act_may - whether a socket can be ended just now
 * @SB_ACT_MAY: it can
 * @SB_ACT_BUSY: a thread has it, or there was no memory to find out
 * @SB_ACT_SHUT_OUT: its peer cannot be heard
 */
enum sb_act_may {
	SB_ACT_MAY,
	SB_ACT_BUSY,
	SB_ACT_SHUT_OUT,
};

/* Who was shut out has to hear first that there is room again, and then to be
 * heard.
 */
static bool sb_act_is_deferred(struct sb_peer *peer, enum sb_act_may may)
{
	bool was_shut_out = peer->shut_out;

	if (may == SB_ACT_BUSY)
		return true;
	peer->shut_out = may == SB_ACT_SHUT_OUT;
	return was_shut_out || peer->shut_out;
}

static enum sockbeat_end sb_act_decide(struct sb_peer *peer, enum sb_act_may may)
{
	struct sb_stats *stats = &peer->session->stats;
	u64 now_ms = sb_now_ms();
	enum sockbeat_end end;

	if (sb_peer_revive(peer, now_ms)) {
		sb_session_schedule(peer->session, 0);
		return SOCKBEAT_END_NONE;
	}
	end = sb_act_wanted(peer, now_ms);
	if (end != SOCKBEAT_END_NONE && sb_act_is_deferred(peer, may)) {
		stats->acts_deferred++;
		end = SOCKBEAT_END_NONE;
		peer->deferred = true;
		/* From now on: it may have waited in line. */
		sb_peer_await(peer, U64_MAX);
	}
	peer->acting = end != SOCKBEAT_END_NONE;
	peer->acted = peer->acting ? peer->policy.action : SOCKBEAT_ACTION_NOTIFY;
	stats->shutdowns += end == SOCKBEAT_END_SHUTDOWN;
	stats->aborts += end == SOCKBEAT_END_ABORT;
	if (peer->acting)
		trace_sockbeat_act(peer, end);
	return end;
}

/* What is still to be done to a socket: since it was found its peer may have
 * been heard, set, deleted or recycled, and the guard may have come between.
 */
static enum sockbeat_end sb_act_begin(struct sock *sk, enum sb_act_may may)
{
	enum sockbeat_end end = SOCKBEAT_END_NONE;
	struct sb_peer *peer;

	rcu_read_lock();
	peer = sb_hook_find(sk);
	if (peer) {
		spin_lock_bh(&peer->session->lock);
		if (peer->sk == sk && peer->acting)
			end = sb_act_decide(peer, may);
		spin_unlock_bh(&peer->session->lock);
	}
	rcu_read_unlock();
	return end;
}

/**
 * sb_act_run - have the sockets ended that sb_act_check() found
 * @session: the session
 *
 * Context: process, may sleep; the session's work.
 */
void sb_act_run(struct sb_session *session)
{
	unsigned int i, n = session->n_act;
	struct sb_acts *acts;

	if (!n)
		return;
	session->n_act = 0;
	acts = kmalloc(struct_size(acts, sk, n), GFP_KERNEL);
	if (acts) {
		acts->n = n;
		memcpy(acts->sk, session->act, n * sizeof(acts->sk[0]));
		if (sb_user_queue(session->user, acts))
			return;
	}
	for (i = 0; i < n; i++) {
		sb_act_begin(session->act[i], SB_ACT_BUSY);
		sock_put(session->act[i]);
	}
	kfree(acts);
}

/* While our own window is shut no payload is taken in, and the peer is not to
 * blame: its TCP asks for room, every TCP_RTO_MAX, and one question may be lost.
 * It is out of the window (tcp_xmit_probe_skb()), so that rcv_tstamp does not tell
 * of it.  Who does not take what we send has brought it about itself.
 */
static bool sb_act_is_shut_out(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return tcp_receive_window(tp) < inet_csk(sk)->icsk_ack.rcv_mss &&
	       tp->snd_una == tp->write_seq &&
	       (tcp_jiffies32 - tp->rcv_tstamp <= 3 * TCP_RTO_MAX ||
		tcp_jiffies32 - tp->last_oow_ack_time <= 3 * TCP_RTO_MAX);
}

static enum sb_act_may sb_act_may(struct sock *sk)
{
	enum sb_act_may may = SB_ACT_MAY;

	local_bh_disable();
	bh_lock_sock(sk);
	if (sock_owned_by_user(sk))
		may = SB_ACT_BUSY;
	else if (sb_act_is_shut_out(sk))
		may = SB_ACT_SHUT_OUT;
	bh_unlock_sock(sk);
	local_bh_enable();
	return may;
}

/**
 * sb_acts_do - end the sockets that were queued
 * @acts: what sb_act_run() queued; gone afterwards
 *
 * The owner reads the error that TCP's own keepalive leaves.
 *
 * Context: process, may sleep.
 */
void sb_acts_do(struct sb_acts *acts)
{
	unsigned int i;

	for (i = 0; i < acts->n; i++) {
		struct sock *sk = acts->sk[i];
		enum sockbeat_end end = sb_act_begin(sk, sb_act_may(sk));

		if (end != SOCKBEAT_END_NONE)
			sb_later_end_now(sk, end, ETIMEDOUT);
		sock_put(sk);
		cond_resched();
	}
	kfree(acts);
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
			     session->stats.count[SOCKBEAT_STATE_SILENT],
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
