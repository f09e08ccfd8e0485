/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What offload.c, which gives sockets an offload and takes it away, and answer.c,
 * which uses it, share.
 */
#ifndef SB_OFFLOAD_H
#define SB_OFFLOAD_H

#include <net/sock.h>

#include "sockbeat.h"

/**
 * struct sb_offload - what a peer with a profile has
 * @peer: the peer; constant while the socket leads here
 * @generation: upper half of its handle; likewise
 * @probe_after_ms: silence after which it is probed, 0 for never; written under
 *		    session->lock
 * @probed_ms: when a probe was last due; session->lock
 * @answered: tcp_jiffies32 when a heartbeat was last answered; the socket's lock
 * @heard: likewise when a frame was last taken, answers to probes included;
 *	   just before the beginning where none was
 * @seen: @heard when it was last taken in; session->lock
 * @profile: id; written under session->lock
 * @echoes: heartbeats that are on their way because of probes, of profiles whose
 *	    answers are heartbeats, too; the socket's lock
 * @expected: id of the profile whose probe may still be answered, 0 for none;
 *	      likewise
 * @has_answered: @answered is valid; likewise
 * @burst: heartbeats answered without a pause; likewise
 * @stranded: in place of the first four, when no socket leads here any more:
 *	      place in sb_stranded; sb_stranded_lock
 * @sk: there: the socket, with a reference
 */
struct sb_offload {
	union {
		struct {
			struct sb_peer *peer;
			u32 generation;
			u32 probe_after_ms;
			u64 probed_ms;
		};
		struct {
			struct list_head stranded;
			struct sock *sk;
		};
	};
	u32 answered;
	u32 heard;
	u32 seen;
	u8 profile;
	u8 echoes;
	u16 expected : 4;
	u16 has_answered : 1;
	u16 burst : 11;
};

/* What @expected has room for. */
static_assert(SOCKBEAT_MAX_PROFILES < 16);

/* What a TCP socket's sk_data_ready is before anybody replaces it. */
extern void (*sb_default_ready)(struct sock *sk);

static inline uintptr_t sb_offload_data(const struct sock *sk)
{
	return (uintptr_t)rcu_dereference_protected(__sk_user_data(sk),
						    lockdep_is_held(&sk->sk_callback_lock));
}

void sb_offload_ready(struct sock *sk);
int sb_answer_init(void);
void sb_answer_exit(void);

#endif /* SB_OFFLOAD_H */
