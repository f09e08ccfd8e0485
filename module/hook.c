// SPDX-License-Identifier: GPL-2.0-only
/*
 * From a socket to its peer, and the end of a socket.
 *
 * TCP passes every change of state by the tracepoint inet_sock_set_state.  A
 * probe there touches no field of any socket, so it lives beside kTLS,
 * sockmap and whatever else has taken sk_user_data, and it sees the end at
 * once: a peer's reference on its socket is never what keeps the socket.  It
 * runs at every change of a TCP state on the host; the states that are no end
 * return after two comparisons, the others after one lookup under RCU.
 */
#include <linux/tracepoint.h>
#include <net/tcp_states.h>
#include <net/tcp.h>

#include "sockbeat.h"

static const struct rhashtable_params sb_socks_params = {
	.key_len = sizeof_field(struct sb_peer, sk_key),
	.key_offset = offsetof(struct sb_peer, sk_key),
	.head_offset = offsetof(struct sb_peer, hash),
	.automatic_shrinking = true,
};

/* Peers by socket, of all sessions. */
static struct rhashtable sb_socks;

static struct tracepoint *sb_hook_tracepoint;

/**
 * sb_hook_insert - make a peer known to its socket
 * @peer: the peer
 *
 * Context: session->lock and the socket's lock held.
 * Return: 0, -ENOMEM, -EBUSY, -E2BIG.  Whether the socket has a peer already is
 * the caller's to find out.
 */
int sb_hook_insert(struct sb_peer *peer)
{
	return rhashtable_lookup_insert_fast(&sb_socks, &peer->hash,
					     sb_socks_params);
}

/**
 * sb_hook_remove - undo sb_hook_insert()
 * @peer: the peer
 *
 * Context: session->lock held.
 */
void sb_hook_remove(struct sb_peer *peer)
{
	rhashtable_remove_fast(&sb_socks, &peer->hash, sb_socks_params);
}

/**
 * sb_hook_find - the peer of a socket
 * @sk: the socket
 *
 * Context: under RCU, to which the peer's life is bound.
 * Return: the peer, or NULL.
 */
struct sb_peer *sb_hook_find(const struct sock *sk)
{
	return rhashtable_lookup(&sb_socks, &sk, sb_socks_params);
}

/**
 * sb_hook_end - a socket is at its end, whether or not it has a peer
 * @sk: the socket, with a reference of the caller
 *
 * Context: the socket's lock held.
 */
void sb_hook_end(struct sock *sk)
{
	struct sb_session *session;
	struct sb_peer *peer;
	bool gone = false;

	rcu_read_lock();
	peer = sb_hook_find(sk);
	if (peer) {
		session = peer->session;
		spin_lock_bh(&session->lock);
		/* A deleted peer stays visible for a grace period. */
		if (peer->sk == sk) {
			gone = true;
			sb_peer_gone(peer);
			sb_session_schedule(session, 0);
		}
		spin_unlock_bh(&session->lock);
	}
	rcu_read_unlock();
	if (gone)
		sock_put(sk);
}

/* Called by TCP with the socket's lock, before the new state is stored.  A
 * socket is at its end when it closes, and when both directions are shut: the
 * owner's close() does that first, though the handshake may take long.
 */
static void sb_hook_state(void *data, const struct sock *sk,
			  const int oldstate, const int newstate)
{
	if (newstate != TCP_CLOSE && READ_ONCE(sk->sk_shutdown) != SHUTDOWN_MASK)
		return;
	/* The caller works on the socket, so it holds it. */
	if (sk->sk_protocol == IPPROTO_TCP)
		sb_hook_end((struct sock *)sk);
}

/* The tracepoint's symbol is not exported, so it is sought by name. */
static void __init sb_hook_match(struct tracepoint *tp, void *data)
{
	if (!strcmp(tp->name, "inet_sock_set_state"))
		sb_hook_tracepoint = tp;
}

int __init sb_hook_init(void)
{
	int err;

	/* Probes run with preemption off there, and spinlocks sleep. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_err("sockbeat: kernels with PREEMPT_RT are not supported\n");
		return -EOPNOTSUPP;
	}

	for_each_kernel_tracepoint(sb_hook_match, NULL);
	if (!sb_hook_tracepoint) {
		pr_err("sockbeat: this kernel has no tracepoint inet_sock_set_state\n");
		return -EOPNOTSUPP;
	}
	err = rhashtable_init(&sb_socks, &sb_socks_params);
	if (err)
		return err;
	err = tracepoint_probe_register(sb_hook_tracepoint, sb_hook_state, NULL);
	if (err)
		rhashtable_destroy(&sb_socks);
	return err;
}

void sb_hook_exit(void)
{
	tracepoint_probe_unregister(sb_hook_tracepoint, sb_hook_state, NULL);
	tracepoint_synchronize_unregister();
	rhashtable_destroy(&sb_socks);
}
