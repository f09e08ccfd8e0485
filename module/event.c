// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ready list and the messages that are made from it.
 *
 * A peer stays on the list until a message that tells of it has been taken
 * into the receiver's buffer, so a full buffer, a missing receiver or a lack
 * of memory loses nothing.  While a message is under way the lock is dropped;
 * a peer that changes in that time loses its @sending mark and is told again.
 */
#include <linux/file.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/wait_bit.h>

#include "sockbeat.h"

/* Peers looked at to fill one message, told or not. */
#define SB_EVENT_SCAN_MAX	256

#define SB_BACKOFF_MIN_MS	2

/**
 * sb_event_push - put a peer on the ready list, or change what it has to tell
 * @peer: the peer
 * @pending: what to tell
 *
 * Context: session->lock held, any. The caller schedules the session's work.
 */
void sb_event_push(struct sb_peer *peer, enum sb_pending pending)
{
	struct sb_session *session = peer->session;

	lockdep_assert_held(&session->lock);

	if (list_empty(&session->ready))
		wake_up_interruptible_poll(&session->wait, EPOLLIN);
	if (peer->pending == SB_TELL_NOTHING)
		list_add_tail(&peer->ready, &session->ready);
	peer->pending = pending;
	peer->sending = false;
}

/**
 * sb_event_drop - take a peer off the ready list
 * @peer: the peer, on the list or not
 *
 * Context: session->lock held, any.
 */
void sb_event_drop(struct sb_peer *peer)
{
	lockdep_assert_held(&peer->session->lock);

	list_del_init(&peer->ready);
	peer->pending = SB_TELL_NOTHING;
	peer->sending = false;
}

/* Has a peer been heard that was to be reported? */
static bool sb_event_is_over(struct sb_peer *peer, u64 now_ms)
{
	if (peer->state == SOCKBEAT_STATE_SILENT)
		return sb_peer_revive(peer, now_ms);
	return peer->pending == SB_TELL_SUSPECT && sb_peer_clear(peer, now_ms);
}

/* Fill a message from the head of the list; returns the number of events. */
static unsigned int sb_event_compose(struct sb_session *session,
				     struct sk_buff *skb)
{
	u64 now_ms = sb_now_ms();
	struct sb_peer *peer, *next;
	unsigned int n = 0, scanned = 0;

	list_for_each_entry_safe(peer, next, &session->ready, ready) {
		if (n == SB_EVENTS_MAX || scanned++ == SB_EVENT_SCAN_MAX)
			break;
		if (sb_event_is_over(peer, now_ms) && peer->pending == SB_TELL_NOTHING)
			continue;
		if (!sb_message_put(skb, peer, now_ms))
			break;
		peer->sending = true;
		session->batch[n++] = sb_peer_handle(peer);
	}
	return n;
}

/* The receiver has it: when does this peer come up again? */
static void sb_event_delivered(struct sb_peer *peer, u64 now_ms)
{
	bool heard = peer->pending == SB_TELL_HEARD;

	if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		sb_recycle_told(peer, now_ms);
		return;
	}
	peer->told = peer->pending == SB_TELL_SILENT ||
		     peer->pending == SB_TELL_SUSPECT;
	sb_event_drop(peer);
	if (heard && peer->suspect)
		sb_event_push(peer, SB_TELL_SUSPECT);
	if (peer->state == SOCKBEAT_STATE_SILENT ||
	    (peer->state == SOCKBEAT_STATE_GONE &&
	     peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL))
		sb_peer_await(peer, sb_peer_again_ms(peer, now_ms));
}

static void sb_event_failed(struct sb_session *session)
{
	session->stats.deferrals++;
	session->backoff_ms = clamp(session->backoff_ms * 2, SB_BACKOFF_MIN_MS,
				    session->tick_ms);
	session->retry_ms = sb_now_ms() + session->backoff_ms;
}

static void sb_event_settle(struct sb_session *session, unsigned int n,
			    bool guard, int err)
{
	u64 now_ms = sb_now_ms();
	struct sb_peer *peer;
	unsigned int i;

	for (i = 0; i < n; i++) {
		peer = sb_peer_find(session, session->batch[i]);
		if (!peer)
			continue;
		if (peer->sending) {
			peer->sending = false;
			if (!err)
				sb_event_delivered(peer, now_ms);
		} else if (peer->pending == SB_TELL_HEARD) {
			/* Revived while the news of its silence was under
			 * way: was there news?
			 */
			if (!err)
				peer->told = true;
			else if (!peer->told)
				sb_event_drop(peer);
		}
	}
	if (err) {
		sb_event_failed(session);
	} else {
		session->backoff_ms = 0;
		session->stats.messages++;
		session->stats.events += n + (guard != session->guard.told);
		session->guard.told = guard;
	}
}

/**
 * sb_event_waits - whether a session has anything to tell
 * @session: the session
 *
 * Context: session->lock held.
 */
bool sb_event_waits(const struct sb_session *session)
{
	return !list_empty(&session->ready) ||
	       session->guard.active != session->guard.told;
}

static bool sb_event_wanted(struct sb_session *session)
{
	/* The port's closing is under way before it is notified. */
	return session->net && session->port_sk &&
	       !sock_flag(session->port_sk, SOCK_DEAD) && sb_event_waits(session) &&
	       (!session->backoff_ms || sb_now_ms() >= session->retry_ms);
}

/**
 * sb_event_wait - let a message that is under way take effect
 * @session: the session
 *
 * A receiver may read a message before the session's work has the lock again
 * and settles what it told: who has the news that a slot is free and adds a
 * peer at once must find it free.
 *
 * Context: process, may sleep for as long as one message takes to be queued.
 */
void sb_event_wait(struct sb_session *session)
{
	unsigned int turn = READ_ONCE(session->turn);

	/* Another turn may have begun by the time that this one's end is seen. */
	if (turn & 1)
		wait_var_event(&session->turn, READ_ONCE(session->turn) != turn);
}

/* Keep a port open while a message is on its way there: a number of a closed one
 * may be anyone's by the time that it is looked up.
 */
static struct file *sb_event_hold_port(struct sock *sk)
{
	struct file *file = NULL;

	/* Who closes the file takes the socket from it under this lock first. */
	read_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_socket && sk->sk_socket->file)
		file = sb_get_live_file(&sk->sk_socket->file);
	read_unlock_bh(&sk->sk_callback_lock);
	return file;
}

/* A message begins to be under way, or has taken effect. */
static void sb_event_turn(struct sb_session *session)
{
	lockdep_assert_held(&session->lock);

	WRITE_ONCE(session->turn, session->turn + 1);
}

/**
 * sb_event_flush - send what the ready list holds
 * @session: the session
 *
 * At most max_expire_per_tick events in one call.
 *
 * Context: the session's work: process, may sleep, one at a time.
 * Return: whether there is more that could be sent at once.
 */
bool sb_event_flush(struct sb_session *session)
{
	int budget = READ_ONCE(sb_max_expire_per_tick);
	struct sk_buff *skb;
	bool guard, is_empty;
	struct file *port;
	struct net *net;
	unsigned int n;
	u32 portid;
	int err;

	spin_lock_bh(&session->lock);
	while (budget > 0 && sb_event_wanted(session)) {
		spin_unlock_bh(&session->lock);
		cond_resched();
		skb = sb_message_new(session);
		spin_lock_bh(&session->lock);
		if (!skb) {
			sb_event_failed(session);
			break;
		}
		if (!sb_event_wanted(session)) {
			kfree_skb(skb);
			break;
		}
		port = sb_event_hold_port(session->port_sk);
		if (!port) {
			kfree_skb(skb);
			sb_event_failed(session);
			break;
		}
		guard = session->guard.active;
		is_empty = guard == session->guard.told ||
			   !sb_message_put_guard(skb, session);
		n = sb_event_compose(session, skb);
		is_empty = is_empty && !n;
		/* The port holds its namespace. */
		net = session->net;
		portid = session->portid;
		sb_event_turn(session);
		spin_unlock_bh(&session->lock);

		if (!is_empty)
			err = sb_message_send(net, skb, portid);
		else
			kfree_skb(skb);
		fput(port);

		spin_lock_bh(&session->lock);
		if (!is_empty)
			sb_event_settle(session, n, guard, err);
		sb_event_turn(session);
		smp_mb();	/* before the look for waiters in wake_up_var() */
		wake_up_var(&session->turn);
		budget -= max(n, 1U);
	}
	n = sb_event_wanted(session);
	spin_unlock_bh(&session->lock);
	return n;
}
