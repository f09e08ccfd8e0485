// SPDX-License-Identifier: BSD-3-Clause
/*
 * Quarantine on the builtin engine: what module/recycle.c does in the kernel.
 */
#include <errno.h>
#include <sys/socket.h>

#include "builtin.h"

/**
 * end_socket - shut a peer's socket down, or reset its connection
 * @peer: the peer
 * @end: which
 */
void end_socket(const struct peer *peer, enum sockbeat_end end)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	if (!peer_has_fd(peer))
		return;
	/* To disconnect an established socket resets its connection. */
	if (end == SOCKBEAT_END_ABORT && !connect(peer->fd, &none, sizeof(none)))
		return;
	shutdown(peer->fd, SHUT_RDWR);
}

static void retire(struct builtin *b, struct peer *peer, const struct sb_retire *how, bool hold)
{
	if (how->end != SOCKBEAT_END_NONE && has_socket(peer))
		end_socket(peer, how->end);
	peer_let_go(b, peer);
	b->stats.recycles++;
	if (!how->delay_ms && !hold) {
		b->stats.recycled++;
		peer_leave(b, peer);
		return;
	}
	ready_drop(b, peer);
	peer_become(b, peer, SOCKBEAT_STATE_RECYCLING);
	peer->hold = hold;
	peer->told = false;
	peer->suspect = false;
	/* The end of this millisecond: a quarantine is never too short. */
	peer->recycle_end_ms = sb_now_ms() + 1 + how->delay_ms;
	if (how->delay_ms)
		peer_arm(b, peer, peer->recycle_end_ms);
	else
		ready_push(b, peer, TELL_RECYCLED);
}

int builtin_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		    const struct sb_retire *how)
{
	struct builtin *b = sb->data;
	struct peer *peer;
	size_t i;

	for (i = 0; i < n; i++) {
		peer = entry_peer(sb, "peer-recycle", &peers[i], i, TRACKED);
		if (peer)
			retire(b, peer, how, peers[i].mask & SB_PEER_HOLD);
	}
	set_timer(b);
	return 0;
}

int builtin_extend(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n, uint32_t delay_ms)
{
	uint64_t end_ms = sb_now_ms() + 1 + delay_ms;
	struct builtin *b = sb->data;
	struct peer *peer;
	size_t i;

	for (i = 0; i < n; i++) {
		peer = entry_peer(sb, "recycle-extend", &peers[i], i,
				  1u << SOCKBEAT_STATE_RECYCLING);
		if (!peer)
			continue;
		if (peer->told) {
			peers[i].error = -EALREADY;
			sb_fail_peer(sb, "recycle-extend", i, &peers[i],
				     "the end of the quarantine was reported");
		} else if (peer->recycle_end_ms < end_ms) {
			peer->recycle_end_ms = end_ms;
			ready_drop(b, peer);
			peer_arm(b, peer, end_ms);
		}
	}
	set_timer(b);
	return 0;
}

/**
 * recycle_check - look at a peer in quarantine whose bucket has come due
 * @b: the session
 * @peer: the peer, on no bucket now
 * @now_ms: sb_now_ms()
 */
void recycle_check(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (now_ms < peer->recycle_end_ms)
		peer_arm(b, peer, peer->recycle_end_ms);
	else
		ready_push(b, peer, TELL_RECYCLED);
}

/**
 * recycle_told - the caller has the event that a quarantine is over
 * @b: the session
 * @peer: the peer
 * @now_ms: sb_now_ms()
 */
void recycle_told(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (!peer->hold) {
		b->stats.recycled++;
		peer_leave(b, peer);
		return;
	}
	peer->told = true;
	ready_drop(b, peer);
	peer_arm(b, peer, now_ms + peer->policy.renotify_ms);
}
