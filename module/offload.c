// SPDX-License-Identifier: GPL-2.0-only
/*
 * The offload of a peer: how it begins, is changed, and ends.  The socket of a
 * peer with a profile has its sk_data_ready replaced, by that of answer.c.
 */
#include <linux/module.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "offload.h"

static struct kmem_cache *sb_offload_cache;

/* What a TCP socket's sk_data_ready is before anybody replaces it. */
void (*sb_default_ready)(struct sock *sk) __ro_after_init;

/* Sockets that were let go while somebody else's callback had ours saved. */
static LIST_HEAD(sb_stranded);
static DEFINE_SPINLOCK(sb_stranded_lock);
static struct delayed_work sb_stranded_work;

/**
 * sb_offload_sum - read a counter of a session
 * @session: the session
 * @count: which
 *
 * Context: any.
 */
u64 sb_offload_sum(const struct sb_session *session, enum sb_count count)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(session->counts, cpu)->count[count]);
	return sum;
}

/**
 * sb_offload_alloc - make an offload that is not attached to a peer
 *
 * Context: process, may sleep.
 * Return: it, to be given to sb_offload_attach() or sb_offload_free(), or NULL.
 */
struct sb_offload *sb_offload_alloc(void)
{
	return kmem_cache_zalloc(sb_offload_cache, GFP_KERNEL);
}

/**
 * sb_offload_free - undo sb_offload_alloc()
 * @offload: an offload that is attached to no peer, or NULL
 */
void sb_offload_free(struct sb_offload *offload)
{
	if (offload)
		kmem_cache_free(sb_offload_cache, offload);
}

/**
 * sb_offload_check_conf - find out whether a peer's offload may be changed
 * @peer: the peer
 * @conf: how
 * @why: set to a reason for users on failure
 *
 * Context: session->lock held.
 * Return: 0, -ENOENT for a profile that is not registered, -EINVAL for probing
 * without a probe.
 */
int sb_offload_check_conf(const struct sb_peer *peer,
			  const struct sb_peer_conf *conf, const char **why)
{
	const struct sb_session *session = peer->session;
	const struct sb_session_profile *p;
	u32 probe_after_ms = 0;
	u8 id = 0;

	if (peer->offload) {
		id = peer->offload->profile;
		probe_after_ms = peer->offload->probe_after_ms;
	}
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_PROFILE))
		id = conf->profile;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_PROBE_AFTER_MS))
		probe_after_ms = conf->probe_after_ms;
	else if (!id)
		probe_after_ms = 0;
	p = rcu_dereference_protected(session->profile[id],
				      lockdep_is_held(&session->lock));
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_PROFILE) && id && !p) {
		*why = "session has no such profile";
		return -ENOENT;
	}
	if (probe_after_ms &&
	    (sb_conf_has(conf, SOCKBEAT_A_PEER_PROFILE) ||
	     sb_conf_has(conf, SOCKBEAT_A_PEER_PROBE_AFTER_MS)) &&
	    (!p || !p->profile.probe_len)) {
		*why = "probe-after-ms needs a profile that has a probe";
		return -EINVAL;
	}
	return 0;
}

/**
 * sb_offload_set - change a peer's offload
 * @peer: the peer
 * @conf: how; sb_offload_check_conf() found it right
 *
 * Context: session->lock held.
 */
void sb_offload_set(struct sb_peer *peer, const struct sb_peer_conf *conf)
{
	struct sb_offload *offload = peer->offload;

	if (!offload)
		return;
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_PROFILE) && !conf->profile) {
		sb_offload_detach(peer);
		return;
	}
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_PROFILE))
		WRITE_ONCE(offload->profile, conf->profile);
	if (sb_conf_has(conf, SOCKBEAT_A_PEER_PROBE_AFTER_MS))
		WRITE_ONCE(offload->probe_after_ms, conf->probe_after_ms);
}

/**
 * sb_offload_attach - have a peer's heartbeats answered
 * @peer: a peer with a socket and no offload
 * @offload: from sb_offload_alloc(); still the caller's on failure
 * @why: set to a reason for users on failure
 *
 * The profile is given afterwards, by sb_offload_set(); up to then everything
 * goes to the application.
 *
 * Context: session->lock held.
 * Return: 0, or -EBUSY where somebody else uses the socket's callbacks.
 */
int sb_offload_attach(struct sb_peer *peer, struct sb_offload *offload,
		      const char **why)
{
	struct sock *sk = peer->sk;
	int err = 0;

	lockdep_assert_held(&peer->session->lock);

	offload->peer = peer;
	offload->generation = sb_peer_handle(peer) >> 32;
	offload->heard = tcp_jiffies32 - 1;
	offload->seen = offload->heard;
	write_lock_bh(&sk->sk_callback_lock);
	if (READ_ONCE(inet_csk(sk)->icsk_ulp_ops)) {
		*why = "socket has an upper layer protocol, such as kTLS: no offload";
		err = -EBUSY;
	} else if (sk->sk_user_data || sk->sk_data_ready != sb_default_ready) {
		*why = "socket's callbacks are in use, by sockmap or KCM for example: no offload";
		err = -EBUSY;
	} else {
		__rcu_assign_sk_user_data_with_flags(sk, offload,
						     SK_USER_DATA_NOCOPY);
		WRITE_ONCE(sk->sk_data_ready, sb_offload_ready);
		WRITE_ONCE(peer->offload, offload);
	}
	write_unlock_bh(&sk->sk_callback_lock);
	return err;
}

/* Give the callback back; false where somebody else has it saved. */
static bool sb_offload_unhook(struct sock *sk, struct sb_offload *offload)
{
	bool restored = false;

	write_lock_bh(&sk->sk_callback_lock);
	if (offload && (sb_offload_data(sk) & SK_USER_DATA_PTRMASK) == (uintptr_t)offload)
		rcu_assign_sk_user_data(sk, NULL);
	if (sk->sk_data_ready == sb_offload_ready) {
		WRITE_ONCE(sk->sk_data_ready, sb_default_ready);
		restored = true;
	}
	write_unlock_bh(&sk->sk_callback_lock);
	return restored;
}

/**
 * sb_offload_withdraw - undo sb_offload_attach() at once
 * @peer: the peer, whose socket's lock is held since; it keeps its offload
 *
 * Context: session->lock held.
 */
void sb_offload_withdraw(struct sb_peer *peer)
{
	if (peer->offload)
		sb_offload_unhook(peer->sk, peer->offload);
}

/**
 * sb_offload_detach - leave a peer's heartbeats to the application again
 * @peer: a peer whose socket is still there
 *
 * What the kernel has taken is answered, what is unread stays unread.
 *
 * Context: session->lock held.
 */
void sb_offload_detach(struct sb_peer *peer)
{
	struct sb_offload *offload = peer->offload;
	struct sock *sk = peer->sk;

	lockdep_assert_held(&peer->session->lock);

	if (!offload)
		return;
	WRITE_ONCE(peer->offload, NULL);
	if (sb_offload_unhook(sk, offload)) {
		sb_offload_free(offload);
		return;
	}
	/* Our callback may be called as long as there is the socket. */
	__module_get(THIS_MODULE);
	sock_hold(sk);
	offload->sk = sk;
	spin_lock_bh(&sb_stranded_lock);
	list_add(&offload->stranded, &sb_stranded);
	spin_unlock_bh(&sb_stranded_lock);
	schedule_delayed_work(&sb_stranded_work, HZ);
}

/* Let go of stranded sockets whose callback came back to us, as kTLS gives it
 * back at its end, or that nobody else has any more.
 */
static void sb_offload_rescue(struct work_struct *work)
{
	struct sb_offload *offload, *next;
	LIST_HEAD(stranded);
	LIST_HEAD(rescued);
	bool more;

	spin_lock_bh(&sb_stranded_lock);
	list_splice_init(&sb_stranded, &stranded);
	spin_unlock_bh(&sb_stranded_lock);
	list_for_each_entry_safe(offload, next, &stranded, stranded) {
		if (sb_offload_unhook(offload->sk, NULL) ||
		    refcount_read(&offload->sk->sk_refcnt) == 1)
			list_move(&offload->stranded, &rescued);
		cond_resched();
	}
	spin_lock_bh(&sb_stranded_lock);
	list_splice(&stranded, &sb_stranded);
	more = !list_empty(&sb_stranded);
	spin_unlock_bh(&sb_stranded_lock);
	if (more)
		schedule_delayed_work(&sb_stranded_work, HZ);
	list_for_each_entry_safe(offload, next, &rescued, stranded) {
		sock_put(offload->sk);
		sb_offload_free(offload);
		/* Not the end of this text: the exit waits for this work. */
		module_put(THIS_MODULE);
		cond_resched();
	}
}

/**
 * sb_offload_heard - when the kernel last took heartbeats of a peer
 * @peer: the peer
 * @when: set to that time in tcp_jiffies32, where it did
 *
 * Context: session->lock held.
 * Return: whether it did since what sb_offload_see() was told last.
 */
bool sb_offload_heard(const struct sb_peer *peer, u32 *when)
{
	if (!peer->offload)
		return false;
	*when = READ_ONCE(peer->offload->heard);
	/* Only what is new is sure to be recent: these 32 bits wrap. */
	return *when != peer->offload->seen;
}

/**
 * sb_offload_see - that the kernel took heartbeats of a peer is taken in
 * @peer: a peer with an offload
 * @when: from sb_offload_heard()
 *
 * Context: session->lock held.
 */
void sb_offload_see(struct sb_peer *peer, u32 when)
{
	peer->offload->seen = when;
}

/**
 * sb_offload_info - what is to be shown of a peer's offload
 * @peer: a peer with an offload
 * @info: filled in
 *
 * Context: session->lock held.
 */
void sb_offload_info(const struct sb_peer *peer, struct sb_offload_info *info)
{
	const struct sb_offload *offload = peer->offload;
	const struct tcp_sock *tp = tcp_sk(peer->sk);
	const struct sockbeat_slot *slot;
	u32 rx = 0, tx = 0;

	/* The kernel's own steps come between no two of these. */
	write_lock_bh(&peer->sk->sk_callback_lock);
	slot = sb_session_slot(peer->session, peer->index);
	if (slot && READ_ONCE(slot->generation) == offload->generation) {
		rx = READ_ONCE(slot->rx);
		tx = READ_ONCE(slot->tx);
	}
	info->rx_behind = READ_ONCE(tp->copied_seq) - READ_ONCE(peer->rx_base) - rx;
	info->tx_behind = READ_ONCE(tp->write_seq) - READ_ONCE(peer->tx_base) - tx;
	write_unlock_bh(&peer->sk->sk_callback_lock);
	info->profile = offload->profile;
	info->probe_after_ms = offload->probe_after_ms;
}

/**
 * sb_offload_probe_ms - when a live peer wants a probe
 * @peer: a peer with an offload
 *
 * Context: session->lock held.
 * Return: the time, U64_MAX for never.
 */
u64 sb_offload_probe_ms(const struct sb_peer *peer)
{
	const struct sb_offload *offload = peer->offload;

	if (!offload->probe_after_ms)
		return U64_MAX;
	return max(peer->heard_ms, offload->probed_ms) + offload->probe_after_ms;
}

/**
 * sb_offload_check - have a probe sent if it is time
 * @peer: a live peer with an offload, at most SB_CHECK_CHUNK before the next
 *	  sb_offload_probe()
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held, the session's work.
 */
void sb_offload_check(struct sb_peer *peer, u64 now_ms)
{
	struct sb_session *session = peer->session;

	if (now_ms < sb_offload_probe_ms(peer) ||
	    WARN_ON_ONCE(session->n_probe == ARRAY_SIZE(session->probe)))
		return;
	peer->offload->probed_ms = now_ms;
	sock_hold(peer->sk);
	session->probe[session->n_probe++] = peer->sk;
}

static int __init sb_offload_find_default(void)
{
	struct socket *sock;
	int err;

	/* The function itself is exported nowhere. */
	err = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &sock);
	if (err)
		return err;
	sb_default_ready = sock->sk->sk_data_ready;
	sock_release(sock);
	return 0;
}

int __init sb_offload_init(void)
{
	int err;

	INIT_DELAYED_WORK(&sb_stranded_work, sb_offload_rescue);
	err = sb_offload_find_default();
	if (err)
		return err;
	sb_offload_cache = kmem_cache_create("sockbeat_offload",
					     sizeof(struct sb_offload), 0,
					     SLAB_ACCOUNT, NULL);
	if (!sb_offload_cache)
		return -ENOMEM;
	err = sb_answer_init();
	if (err)
		kmem_cache_destroy(sb_offload_cache);
	return err;
}

void sb_offload_exit(void)
{
	cancel_delayed_work_sync(&sb_stranded_work);
	/* A task may have been preempted on its way into our callback. */
	synchronize_rcu_tasks();
	sb_answer_exit();
	kmem_cache_destroy(sb_offload_cache);
}
