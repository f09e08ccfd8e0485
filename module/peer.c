// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a peer.
 *
 *   state      on the wheel until          on the ready list
 *   ---------  --------------------------  --------------------------------
 *   LIVE       its earliest expiry,        only to tell HEARD or SUSPECT
 *              warning or heartbeat
 *   SILENT     the next look, once told,   until told
 *              or the kernel has to act
 *   GONE       the next reminder, once     until told
 *              told, if level-triggered
 *   RECYCLING  its quarantine is over;     until told, which frees the slot
 *              the next reminder, if held  if that is not held
 *   FREE       never: no peer has the slot
 *
 * LIVE and SILENT follow each other, GONE follows either, RECYCLING any of the
 * three, FREE any.  module/peer.pml is this table as a model, which `make check`
 * runs through.
 */
#include <linux/slab.h>
#include <linux/sock_diag.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "sockbeat.h"
#include "trace.h"

static struct kmem_cache *sb_peer_cache;

/**
 * sb_peer_alloc - make a peer that is not yet tracked
 * @session: its session, held by the caller
 * @sk: its socket, of which the peer takes a reference
 * @conf: settings
 *
 * Context: process, may sleep.
 * Return: the peer, to be given to sb_peer_track() or sb_peer_free(), or NULL.
 */
struct sb_peer *sb_peer_alloc(struct sb_session *session, struct sock *sk,
			      const struct sb_peer_conf *conf)
{
	struct sb_peer *peer;
	__u32 cookie[2];

	/* The figure that README and selftests promise. */
	BUILD_BUG_ON(sizeof(struct sb_peer) > 128);

	peer = kmem_cache_zalloc(sb_peer_cache, GFP_KERNEL);
	if (!peer)
		return NULL;
	if (conf->profile) {
		peer->offload = sb_offload_alloc();
		if (!peer->offload) {
			kmem_cache_free(sb_peer_cache, peer);
			return NULL;
		}
	}
	/* Tools join what they show by it, so it has one from now on. */
	sock_diag_save_cookie(sk, cookie);
	sock_hold(sk);
	peer->sk = sk;
	peer->sk_key = sk;
	peer->session = session;
	INIT_LIST_HEAD(&peer->ready);
	peer->user_data = conf->user_data;
	return peer;
}

/**
 * sb_peer_free - undo sb_peer_alloc()
 * @peer: a peer that is not tracked
 */
void sb_peer_free(struct sb_peer *peer)
{
	sock_put(peer->sk);
	sb_offload_free(peer->offload);
	kmem_cache_free(sb_peer_cache, peer);
}

static void sb_peer_free_rcu(struct rcu_head *rcu)
{
	kmem_cache_free(sb_peer_cache, container_of(rcu, struct sb_peer, rcu));
}

/* Never used slots first, then the one that was released longest ago: a slot
 * is reused as late as can be.
 */
static bool sb_slot_take(struct sb_session *session, struct sb_peer *peer)
{
	struct sb_slot *slot;

	if (session->fresh < session->capacity) {
		peer->index = session->fresh++;
		session->slots[peer->index].generation =
			session->first_generation - 1;
	} else if (session->free_head != SB_NO_SLOT) {
		peer->index = session->free_head;
		session->free_head = session->slots[peer->index].next;
	} else {
		return false;
	}
	slot = &session->slots[peer->index];
	slot->peer = peer;
	/* No handle is 0.  One that names this peer was last given out 2^32
	 * peers of the slot ago.
	 */
	if (!++slot->generation)
		slot->generation = 1;
	return true;
}

static void sb_slot_release(struct sb_session *session, u32 index)
{
	session->slots[index].peer = NULL;
	session->slots[index].next = SB_NO_SLOT;
	if (session->free_head == SB_NO_SLOT)
		session->free_head = index;
	else
		session->slots[session->free_tail].next = index;
	session->free_tail = index;
}

/**
 * sb_peer_become - change a peer's state
 * @peer: the peer
 * @state: its new state
 *
 * Context: session->lock held.
 */
void sb_peer_become(struct sb_peer *peer, enum sockbeat_state state)
{
	peer->session->stats.count[peer->state]--;
	peer->session->stats.count[state]++;
	peer->state = state;
}

/**
 * sb_peer_disarm - take a peer off the wheel
 * @peer: the peer, on it or not
 *
 * Context: session->lock held.
 */
void sb_peer_disarm(struct sb_peer *peer)
{
	if (sb_wheel_armed(&peer->node))
		sb_wheel_del(&peer->session->wheel, &peer->node);
}

static void sb_policy_set(struct sb_policy *policy, const struct sb_peer_conf *conf)
{
	const struct sb_policy *new = &conf->policy;

	if (sb_conf_has(conf, SOCKBEAT_A_PEER_TIMEOUT_MS))
		policy->timeout_ms = new->timeout_ms;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_RENOTIFY_MS))
		policy->renotify_ms = new->renotify_ms;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_ACT_AFTER_MS))
		policy->act_after_ms = new->act_after_ms;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_SOURCE))
		policy->source = new->source;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_TRIGGER))
		policy->trigger = new->trigger;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_ACTION))
		policy->action = new->action;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_ADAPTIVE_BEATS))
		policy->adaptive_beats = new->adaptive_beats;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_SUSPECT_PERCENT))
		policy->suspect_percent = new->suspect_percent;
}

/* Positions count from here on, whether or not there is a profile yet. */
static int sb_peer_begin_offload(struct sb_peer *peer,
				 const struct sb_peer_conf *conf, const char **why)
{
	struct sb_offload *offload = peer->offload;
	int err;

	peer->rx_base = READ_ONCE(tcp_sk(peer->sk)->copied_seq);
	peer->tx_base = READ_ONCE(tcp_sk(peer->sk)->write_seq);
	peer->offload = NULL;
	err = sb_offload_check_conf(peer, conf, why);
	if (!err && offload)
		err = sb_offload_attach(peer, offload, why);
	if (err)
		peer->offload = offload;
	else
		sb_offload_set(peer, conf);
	return err;
}

static bool sb_peer_has_another(const struct sock *sk)
{
	bool has;

	rcu_read_lock();
	has = sb_hook_find(sk);
	rcu_read_unlock();
	return has;
}

static int sb_peer_enter(struct sb_peer *peer, const struct sb_peer_conf *conf,
			 const char **why)
{
	struct sb_session *session = peer->session;
	int err;

	lockdep_assert_held(&session->lock);

	if (!session->net) {
		*why = "the session's network namespace is gone";
		return -ENETDOWN;
	}
	/* Nobody else enters this socket meanwhile: it is locked. */
	if (sb_peer_has_another(peer->sk)) {
		*why = "socket is tracked already";
		return -EEXIST;
	}
	if (!sb_slot_take(session, peer)) {
		*why = "no free slot in the session";
		return -ENOSPC;
	}
	sb_session_clear_slot(session, peer->index);
	err = sb_peer_begin_offload(peer, conf, why);
	if (err)
		goto release;
	/* Last: who is found by its socket is freed after a grace period. */
	err = sb_hook_insert(peer);
	if (err) {
		sb_offload_withdraw(peer);
		*why = err == -EBUSY ? "socket table is being resized" :
				       "no memory for the socket table";
		if (err == -EBUSY)
			err = -EAGAIN;
		goto release;
	}
	/* Time before this moment is not held against the peer. */
	peer->lrcvtime = READ_ONCE(inet_csk(peer->sk)->icsk_ack.lrcvtime);
	/* What comes in this jiffy cannot be told from what came before. */
	peer->heard_ms = sb_now_ms() + jiffies_to_msecs(1);
	peer->policy = session->policy;
	sb_policy_set(&peer->policy, conf);
	peer->state = SOCKBEAT_STATE_LIVE;
	session->stats.count[SOCKBEAT_STATE_LIVE]++;
	session->stats.added++;
	sb_peer_arm(peer, peer->heard_ms);
	trace_sockbeat_add(peer);
	return 0;

release:
	sb_slot_release(session, peer->index);
	return err;
}

/* Enter a socket in its lock; -EAGAIN for what passes, as that a thread has it. */
static int sb_peer_try_track(struct sb_peer *peer,
			     const struct sb_peer_conf *conf, u64 *handle,
			     const char **why)
{
	struct sb_session *session = peer->session;
	struct sock *sk = peer->sk;
	int err;

	local_bh_disable();
	bh_lock_sock(sk);
	if (sock_owned_by_user(sk)) {
		*why = "socket is in use by another thread";
		err = -EAGAIN;
	} else if (sk->sk_state == TCP_LISTEN) {
		*why = "socket is listening";
		err = -EINVAL;
	} else if (!((1 << sk->sk_state) &
		     (TCPF_ESTABLISHED | TCPF_SYN_RECV | TCPF_CLOSE_WAIT |
		      TCPF_FIN_WAIT1 | TCPF_FIN_WAIT2)) ||
		   sk->sk_shutdown == SHUTDOWN_MASK) {
		*why = "socket is not connected";
		err = -ENOTCONN;
	} else {
		spin_lock(&session->lock);
		err = sb_peer_enter(peer, conf, why);
		if (!err)
			*handle = sb_peer_handle(peer);
		spin_unlock(&session->lock);
	}
	bh_unlock_sock(sk);
	local_bh_enable();
	return err;
}

/**
 * sb_peer_track - enter a peer into its session
 * @peer: from sb_peer_alloc(); still the caller's on failure
 * @conf: the same settings
 * @handle: set to the peer's handle
 * @until_ms: wait no longer than this for a socket that is in use
 * @why: set to a reason for users on failure
 *
 * The socket's lock keeps its state from changing between the look at it and
 * the entry, so that sb_hook_state() misses no end.  A thread may own a socket
 * for as long as it likes, in a page fault for example, and generic netlink
 * holds a lock of its own around every request: never sleep for the owner.
 *
 * Context: process, may sleep.
 * Return: 0; -EINVAL for a listening socket, -ENOTCONN, -EEXIST, -ENOSPC,
 * -ENETDOWN, -ENOMEM, -EBUSY; what sb_offload_check_conf() and
 * sb_offload_attach() return.
 */
int sb_peer_track(struct sb_peer *peer, const struct sb_peer_conf *conf,
		  u64 *handle, u64 until_ms, const char **why)
{
	int err;

	for (;;) {
		err = sb_peer_try_track(peer, conf, handle, why);
		if (err != -EAGAIN)
			return err;
		if (sb_now_ms() >= until_ms || fatal_signal_pending(current))
			return -EBUSY;
		schedule_timeout_killable(1);
	}
}

/**
 * sb_peer_let_go - take a peer off the wheel and its socket from it
 * @peer: a tracked peer
 *
 * Context: session->lock held.
 * Return: the socket for the caller to put when the lock is dropped, or NULL.
 */
struct sock *sb_peer_let_go(struct sb_peer *peer)
{
	struct sock *sk = peer->sk;

	sb_peer_disarm(peer);
	if (sk) {
		sb_offload_detach(peer);
		sb_hook_remove(peer);
		peer->sk = NULL;
	}
	return sk;
}

/**
 * sb_peer_leave - free a peer and its slot
 * @peer: a peer that was let go; freed after a grace period
 *
 * Context: session->lock held.
 */
void sb_peer_leave(struct sb_peer *peer)
{
	struct sb_session *session = peer->session;

	lockdep_assert_held(&session->lock);

	sb_event_drop(peer);
	session->stats.count[peer->state]--;
	sb_slot_release(session, peer->index);
	call_rcu(&peer->rcu, sb_peer_free_rcu);
}

/**
 * sb_peer_untrack - end a peer and free its slot
 * @peer: a peer in any state; freed after a grace period
 *
 * Context: session->lock held.
 * Return: the socket for the caller to put when the lock is dropped, or NULL
 * where it had gone.
 */
struct sock *sb_peer_untrack(struct sb_peer *peer)
{
	struct sock *sk;

	sk = sb_peer_let_go(peer);
	/* The holder of a slot whose quarantine is over lets go of it. */
	if (peer->state == SOCKBEAT_STATE_RECYCLING && peer->told)
		peer->session->stats.recycled++;
	else
		peer->session->stats.deleted++;
	sb_peer_leave(peer);
	return sk;
}

/**
 * sb_peer_gone - a peer's socket has come to its end
 * @peer: a tracked peer whose socket is still there; the caller puts the
 *	  socket when the lock is dropped
 *
 * Context: session->lock held, any.
 */
void sb_peer_gone(struct sb_peer *peer)
{
	lockdep_assert_held(&peer->session->lock);

	/* Nothing of the socket is known afterwards. */
	sb_peer_listen(peer, sb_now_ms());
	sb_peer_let_go(peer);
	sb_peer_become(peer, SOCKBEAT_STATE_GONE);
	peer->session->stats.sockets_gone++;
	trace_sockbeat_gone(peer);
	sb_event_push(peer, SB_TELL_GONE);
}

/**
 * sb_peer_find - look a handle up
 * @session: the session
 * @handle: untrusted
 *
 * Context: session->lock held.
 * Return: the peer, or NULL for a handle that is stale or never was.
 */
struct sb_peer *sb_peer_find(struct sb_session *session, u64 handle)
{
	u32 index = (u32)handle;

	lockdep_assert_held(&session->lock);

	if (index >= session->capacity ||
	    session->slots[index].generation != handle >> 32)
		return NULL;
	return session->slots[index].peer;
}

/**
 * sb_peer_set - change a peer's settings
 * @peer: a peer that is not in quarantine
 * @conf: what to change
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
void sb_peer_set(struct sb_peer *peer, const struct sb_peer_conf *conf,
		 u64 now_ms)
{
	struct sb_policy old = peer->policy;

	lockdep_assert_held(&peer->session->lock);

	/* What was heard by the old source counts, its rhythm does not. */
	sb_peer_listen(peer, now_ms);
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_USER_DATA))
		peer->user_data = conf->user_data;
	sb_policy_set(&peer->policy, conf);
	if (peer->policy.source != old.source || !old.adaptive_beats)
		peer->samples = 0;
	sb_offload_set(peer, conf);

	if (peer->state == SOCKBEAT_STATE_LIVE)
		sb_peer_arm(peer, now_ms);
	else if (peer->state == SOCKBEAT_STATE_SILENT && !sb_peer_revive(peer, now_ms))
		sb_peer_await(peer, peer->pending == SB_TELL_NOTHING ?
				    sb_peer_again_ms(peer, now_ms) : U64_MAX);
	else if (peer->state == SOCKBEAT_STATE_GONE && peer->pending == SB_TELL_NOTHING)
		sb_peer_await(peer, peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL ?
				    sb_peer_again_ms(peer, now_ms) : U64_MAX);
}

int __init sb_peer_init(void)
{
	sb_peer_cache = kmem_cache_create("sockbeat_peer", sizeof(struct sb_peer),
					  0, SLAB_ACCOUNT, NULL);
	return sb_peer_cache ? 0 : -ENOMEM;
}

void sb_peer_exit(void)
{
	rcu_barrier();
	kmem_cache_destroy(sb_peer_cache);
}
