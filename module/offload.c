// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heartbeats that the kernel answers.
 *
 * The socket of a peer with a profile has its sk_data_ready replaced.  Where
 * all unread bytes are whole heartbeats and the application stands between two
 * frames on both sides, they are answered and taken right there; in every other
 * case TCP's own callback runs and the application sees the bytes untouched.
 * Offload may save work, it may not change a stream.
 *
 * Where the application stands is what it says in its slot record:
 *
 *   rx == copied_seq - rx_base	  it is done with all that it has read
 *   tx == write_seq - tx_base	  nothing of its output waits in the process
 *
 * The bases begin at peer-add and grow by what the kernel itself takes and
 * sends.  Each value has one writer: the process writes rx and tx, this file
 * the bases, under the socket's lock.  A record that is behind, or wrong, makes
 * the two differ, and then the application is asked.
 *
 * The callback runs with the socket's lock, mostly in softirq.  It holds the
 * socket's sk_callback_lock for reading, so an offload cannot be taken away
 * while it is in use.
 */
#include <linux/uio.h>
#include <linux/module.h>
#include <linux/net_tstamp.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "sockbeat.h"
#include "trace.h"

/* The most bytes that are looked at, and answered, at once. */
#define SB_OFFLOAD_BYTES	1024

/* Room that options may take of a segment. */
#define SB_OPTION_BYTES		40

/**
 * struct sb_offload - what a peer with a profile has
 * @peer: the peer; constant while the socket leads here
 * @generation: upper half of its handle; likewise
 * @probe_after_ms: silence after which it is probed, 0 for never; session->lock
 * @probed_ms: when a probe was last due; session->lock
 * @answered: tcp_jiffies32 when a heartbeat was last answered; the socket's lock
 * @heard: likewise when a frame was last taken, answers to probes included;
 *	   just before the beginning where none was
 * @seen: @heard when it was last taken in; session->lock
 * @expected: id of the profile whose probe may still be answered, 0 for none;
 *	      the socket's lock
 * @profile: id; written under session->lock
 * @has_answered: @answered is valid; the socket's lock
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
	u8 expected;
	u8 profile;
	bool has_answered;
};

/**
 * struct sb_scratch - what a processor works with while BH is off
 * @frag: where replies are put
 * @in: unread bytes
 * @out: replies
 */
struct sb_scratch {
	struct page_frag frag;
	u8 in[SB_OFFLOAD_BYTES];
	u8 out[SB_OFFLOAD_BYTES];
};

static struct kmem_cache *sb_offload_cache;
static struct sb_scratch __percpu *sb_scratch;

/* What a TCP socket's sk_data_ready is before anybody replaces it. */
static void (*sb_default_ready)(struct sock *sk) __ro_after_init;

/* Sockets that were let go while somebody else's callback had ours saved. */
static LIST_HEAD(sb_stranded);
static DEFINE_SPINLOCK(sb_stranded_lock);
static struct delayed_work sb_stranded_work;

static void sb_count(const struct sb_session *session, enum sb_count count, u32 n)
{
	this_cpu_add(session->counts->count[count], n);
}

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

static void sb_offload_ready(struct sock *sk);

static uintptr_t sb_offload_data(const struct sock *sk)
{
	return (uintptr_t)rcu_dereference_protected(__sk_user_data(sk),
						    lockdep_is_held(&sk->sk_callback_lock));
}

/* The offload of a socket that leads here, in whatever chain of callbacks.
 * kTLS saves the callback that it finds and leaves sk_user_data alone; whoever
 * else comes later may have taken over either, so what is there is ours only
 * if the socket's peer says so.
 */
static struct sb_offload *sb_offload_of(const struct sock *sk)
{
	uintptr_t data = sb_offload_data(sk);
	struct sb_offload *offload = (void *)(data & SK_USER_DATA_PTRMASK);
	struct sb_peer *peer;
	bool ours;

	if ((data & ~SK_USER_DATA_PTRMASK) != SK_USER_DATA_NOCOPY)
		return NULL;
	if (READ_ONCE(sk->sk_data_ready) == sb_offload_ready)
		return offload;
	rcu_read_lock();
	peer = sb_hook_find(sk);
	ours = peer && READ_ONCE(peer->offload) == offload;
	rcu_read_unlock();
	return ours ? offload : NULL;
}

/* Nothing is under way that a reply could get into. */
static bool sb_offload_is_plain(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return sk->sk_state == TCP_ESTABLISHED && !READ_ONCE(sk->sk_err) &&
	       !READ_ONCE(sk->sk_shutdown) && !sock_flag(sk, SOCK_DEAD) &&
	       !tp->urg_data && !tp->repair &&
	       READ_ONCE(sk->sk_peek_off) < 0 &&
	       !(READ_ONCE(sk->sk_tsflags) & (SOF_TIMESTAMPING_TX_RECORD_MASK |
					      SOF_TIMESTAMPING_OPT_ID));
}

/* The application stands between two frames, for its output at least. */
static bool sb_offload_in_place(const struct sock *sk,
				const struct sb_offload *offload, bool both)
{
	const struct sb_peer *peer = offload->peer;
	const struct tcp_sock *tp = tcp_sk(sk);
	const struct sockbeat_slot *slot;
	u32 rx;

	slot = sb_session_slot(peer->session, peer->index);
	/* Before the positions: they are another peer's until it is written. */
	if (!slot || smp_load_acquire(&slot->generation) != offload->generation)
		return false;
	/* Before tx: output that answers input is in tx before that input is
	 * in rx.
	 */
	rx = smp_load_acquire(&slot->rx);
	return tp->write_seq - peer->tx_base == READ_ONCE(slot->tx) &&
	       (!both || tp->copied_seq - peer->rx_base == rx);
}

static bool sb_offload_can_send(const struct sock *sk)
{
	return !tcp_send_head(sk) && !(tcp_sk(sk)->nonagle & TCP_NAGLE_CORK) &&
	       READ_ONCE(sk->sk_wmem_queued) < READ_ONCE(sk->sk_sndbuf);
}

/* What may be sent as one segment: the second of two might find no memory. */
static u32 sb_offload_room(const struct sock *sk)
{
	u32 mss = tcp_sk(sk)->mss_cache;

	return clamp_t(u32, mss, SB_OPTION_BYTES,
		       SB_OPTION_BYTES + SB_OFFLOAD_BYTES) - SB_OPTION_BYTES;
}

/* Send @n bytes, all or none.  Memory is made sure of first, so that TCP does
 * not stop half-way.  What the socket has is for a sleeping context: a page
 * fragment of the current task, which may be in the middle of using it, and
 * allocation flags.  Both are lent to it.
 */
static bool sb_offload_send(struct sock *sk, struct sb_scratch *scratch,
			    void *data, u32 n)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	gfp_t gfp = GFP_ATOMIC | __GFP_NOWARN;
	struct kvec vec = { data, n };
	bool use_task_frag = sk->sk_use_task_frag;
	gfp_t allocation = sk->sk_allocation;
	struct page_frag frag = sk->sk_frag;
	int sent;

	if (!skb_page_frag_refill(n, &scratch->frag, gfp) ||
	    !sk_wmem_schedule(sk, 2 * (SKB_TRUESIZE(MAX_TCP_HEADER) + n)))
		return false;
	iov_iter_kvec(&msg.msg_iter, ITER_SOURCE, &vec, 1, n);

	sk->sk_frag = scratch->frag;
	sk->sk_use_task_frag = false;
	sk->sk_allocation = gfp;
	sent = tcp_sendmsg_locked(sk, &msg, n);
	sk->sk_allocation = allocation;
	sk->sk_use_task_frag = use_task_frag;
	scratch->frag = sk->sk_frag;
	sk->sk_frag = frag;

	/* Half a frame is on its way and cannot be called back. */
	if (WARN_ON_ONCE(sent > 0 && sent != n)) {
		WRITE_ONCE(sk->sk_err, ENOBUFS);
		WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
		sk_error_report(sk);
	}
	return sent == n;
}

/* What is unread, without taking it: where it lies or, when it is in more than
 * one piece or in pages that somebody may write to, copied to @in; NULL for
 * neither.  Segments may overlap.
 */
static const u8 *sb_offload_peek(const struct sock *sk, u8 *in, u32 unread)
{
	u32 seq = tcp_sk(sk)->copied_seq, done = 0;
	const struct sk_buff *skb;

	skb_queue_walk(&sk->sk_receive_queue, skb) {
		u32 off = seq - TCP_SKB_CB(skb)->seq, n;

		if (TCP_SKB_CB(skb)->tcp_flags & TCPHDR_SYN)
			off--;
		if (off >= skb->len)
			continue;
		n = min(skb->len - off, unread - done);
		if (n == unread && off + n <= skb_headlen(skb))
			return skb->data + off;
		if (skb_copy_bits(skb, off, in + done, n))
			return NULL;
		done += n;
		seq += n;
		if (done == unread)
			return in;
	}
	return NULL;
}

static int sb_offload_actor(read_descriptor_t *desc, struct sk_buff *skb,
			    unsigned int off, size_t len)
{
	len = min(len, desc->count);
	desc->count -= len;
	return len;
}

static void sb_offload_take(struct sock *sk, u32 unread)
{
	read_descriptor_t desc = { .count = unread };

	tcp_read_sock(sk, &desc, sb_offload_actor);
	WARN_ON_ONCE(desc.count);
}

/* Too soon after the last one, or too many in one go to tell. */
static bool sb_offload_is_flood(const struct sb_offload *offload,
				const struct sb_profile *profile, u32 frames)
{
	u32 ms = profile->min_interval_ms;

	if (!ms || !frames)
		return false;
	return frames > 1 ||
	       (offload->has_answered &&
		tcp_jiffies32 - offload->answered < msecs_to_jiffies(ms));
}

static void sb_offload_taken(struct sb_offload *offload, const struct sb_match *found)
{
	const struct sb_session *session = offload->peer->session;
	u32 answered = found->frames - found->answers, now = tcp_jiffies32;

	WRITE_ONCE(offload->heard, now);
	if (found->answers) {
		offload->expected = 0;
		sb_count(session, SB_PROBES_ANSWERED, found->answers);
	}
	if (answered) {
		offload->answered = now;
		offload->has_answered = true;
		sb_count(session, SB_ANSWERED, answered);
	}
}

/* The application sees all that is unread, a probe's answer maybe included. */
static void sb_offload_passed(struct sb_offload *offload, enum sb_count reason)
{
	if (reason != SB_PASS_PARTIAL)
		offload->expected = 0;
	sb_count(offload->peer->session, reason, 1);
}

/* Answer and take what is unread.  BH is off, which RCU waits for too. */
static enum sb_count sb_offload_try(struct sock *sk, struct sb_offload *offload,
				    u32 unread)
{
	struct sb_peer *peer = offload->peer;
	const struct sb_session_profile *p;
	struct sb_scratch *scratch;
	u8 id = READ_ONCE(offload->profile);
	struct sb_match found;
	const u8 *in;

	if (sock_owned_by_user(sk))
		return SB_PASS_OWNED;
	if (READ_ONCE(sk->sk_data_ready) != sb_offload_ready ||
	    inet_csk(sk)->icsk_ulp_ops)
		return SB_PASS_FOREIGN;
	p = rcu_dereference_bh(peer->session->profile[id]);
	if (!p || !sb_offload_is_plain(sk))
		return SB_PASS_STATE;
	if (!sb_offload_in_place(sk, offload, true))
		return SB_PASS_POSITION;
	scratch = this_cpu_ptr(sb_scratch);
	if (unread > SB_OFFLOAD_BYTES)
		return SB_PASS_DATA;
	in = sb_offload_peek(sk, scratch->in, unread);
	if (!in)
		return SB_PASS_DATA;
	switch (sb_match_all(&p->profile, in, unread,
			     id == offload->expected, scratch->out,
			     sb_offload_room(sk), &found)) {
	case SB_MATCH_DATA:
		return SB_PASS_DATA;
	case SB_MATCH_PARTIAL:
		return SB_PASS_PARTIAL;
	case SB_MATCH_HEARTBEATS:
		break;
	}
	if (!sb_offload_can_send(sk))
		return SB_PASS_QUEUE;
	if (sb_offload_is_flood(offload, &p->profile, found.frames - found.answers))
		return SB_PASS_RATE;
	if (found.reply_bytes &&
	    !sb_offload_send(sk, scratch, scratch->out, found.reply_bytes))
		return SB_PASS_MEMORY;

	WRITE_ONCE(peer->tx_base, peer->tx_base + found.reply_bytes);
	WRITE_ONCE(peer->rx_base, peer->rx_base + unread);
	sb_offload_take(sk, unread);
	sb_offload_taken(offload, &found);
	return SB_ANSWERED;
}

/* In the place of sk_data_ready: called by TCP with the socket's lock. */
static void sb_offload_ready(struct sock *sk)
{
	enum sb_count verdict = SB_PASS_STATE;
	struct sb_offload *offload;
	u32 unread;

	read_lock_bh(&sk->sk_callback_lock);
	offload = sb_offload_of(sk);
	unread = tcp_sk(sk)->rcv_nxt - tcp_sk(sk)->copied_seq;
	if (offload && unread) {
		verdict = sb_offload_try(sk, offload, unread);
		trace_sockbeat_offload(offload->peer->session, sk, verdict, unread);
		if (verdict != SB_ANSWERED)
			sb_offload_passed(offload, verdict);
	}
	read_unlock_bh(&sk->sk_callback_lock);
	if (verdict != SB_ANSWERED)
		sb_default_ready(sk);
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
		offload->probe_after_ms = conf->probe_after_ms;
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
 * @when: set to that time in tcp_jiffies32
 *
 * Context: session->lock held.
 * Return: whether it did since the last call.
 */
bool sb_offload_heard(struct sb_peer *peer, u32 *when)
{
	struct sb_offload *offload = peer->offload;

	if (!offload)
		return false;
	*when = READ_ONCE(offload->heard);
	/* Only what is new is sure to be recent: these 32 bits wrap. */
	if (*when == offload->seen)
		return false;
	offload->seen = *when;
	return true;
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

	slot = sb_session_slot(peer->session, peer->index);
	if (slot && READ_ONCE(slot->generation) == offload->generation) {
		rx = READ_ONCE(slot->rx);
		tx = READ_ONCE(slot->tx);
	}
	info->profile = offload->profile;
	info->probe_after_ms = offload->probe_after_ms;
	info->rx_behind = READ_ONCE(tp->copied_seq) - READ_ONCE(peer->rx_base) - rx;
	info->tx_behind = READ_ONCE(tp->write_seq) - READ_ONCE(peer->tx_base) - tx;
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

/* Send a probe.  BH is off, as above. */
static bool sb_offload_try_probe(struct sock *sk, struct sb_offload *offload)
{
	struct sb_peer *peer = offload->peer;
	const struct sb_session_profile *p;
	struct sb_scratch *scratch;
	u32 n;
	u8 id;

	if (sock_owned_by_user(sk) || inet_csk(sk)->icsk_ulp_ops ||
	    !sb_offload_is_plain(sk) ||
	    !sb_offload_in_place(sk, offload, false) || !sb_offload_can_send(sk))
		return false;
	id = READ_ONCE(offload->profile);
	p = rcu_dereference_bh(peer->session->profile[id]);
	if (!p)
		return false;
	n = p->profile.probe_len;
	scratch = this_cpu_ptr(sb_scratch);
	memcpy(scratch->out, p->profile.probe, n);
	if (!n || n > sb_offload_room(sk) ||
	    !sb_offload_send(sk, scratch, scratch->out, n))
		return false;
	WRITE_ONCE(peer->tx_base, peer->tx_base + n);
	offload->expected = id;
	return true;
}

static void sb_offload_probe_one(struct sb_session *session, struct sock *sk)
{
	struct sb_offload *offload;
	bool sent = false;

	local_bh_disable();
	bh_lock_sock(sk);
	read_lock(&sk->sk_callback_lock);
	offload = sb_offload_of(sk);
	/* Meanwhile it may have been given to another session. */
	if (offload && offload->peer->session == session)
		sent = sb_offload_try_probe(sk, offload);
	read_unlock(&sk->sk_callback_lock);
	bh_unlock_sock(sk);
	sb_count(session, sent ? SB_PROBES : SB_PROBES_SKIPPED, 1);
	local_bh_enable();
}

/**
 * sb_offload_probe - send the probes that are due
 * @session: the session
 *
 * Context: process, may sleep; the session's work.
 */
void sb_offload_probe(struct sb_session *session)
{
	while (session->n_probe) {
		struct sock *sk = session->probe[--session->n_probe];

		sb_offload_probe_one(session, sk);
		sock_put(sk);
	}
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
	sb_scratch = alloc_percpu(struct sb_scratch);
	if (!sb_scratch) {
		kmem_cache_destroy(sb_offload_cache);
		return -ENOMEM;
	}
	return 0;
}

void sb_offload_exit(void)
{
	int cpu;

	cancel_delayed_work_sync(&sb_stranded_work);
	/* A task may have been preempted on its way into our callback. */
	synchronize_rcu_tasks();
	for_each_possible_cpu(cpu) {
		struct page *page = per_cpu_ptr(sb_scratch, cpu)->frag.page;

		if (page)
			put_page(page);
	}
	free_percpu(sb_scratch);
	kmem_cache_destroy(sb_offload_cache);
}
