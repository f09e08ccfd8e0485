// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heartbeats that the kernel answers, and probes that it sends: what is done
 * with a socket whose callback leads here.
 *
 * Where all unread bytes are whole heartbeats and the application stands between
 * two frames on both sides, they are answered and taken right there; in every
 * other case TCP's own callback runs and the application sees the bytes
 * untouched.  Offload may save work, it may not change a stream.
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
#include <linux/net_tstamp.h>
#include <linux/percpu.h>
#include <net/inet_connection_sock.h>
#include <net/tcp.h>

#include "offload.h"
#include "trace.h"

/* The most bytes that are looked at, and answered, at once. */
#define SB_OFFLOAD_BYTES	1024

/* The most heartbeats of a peer that are answered with no pause of a second: two
 * offloaded ends may take each other's answers for heartbeats, and would go on in
 * softirq without end.  The application is asked then, which may be stopped.
 */
#define SB_BURST_MAX		1000

/* Room that options may take of a segment. */
#define SB_OPTION_BYTES		40

/* Headers that count as a path's MTU, the most but for options: IPv6 with a fragment
 * header, TCP.
 */
#define SB_HEADER_BYTES		(40 + 8 + 20)

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

static struct sb_scratch __percpu *sb_scratch;

static void sb_count(const struct sb_session *session, enum sb_count count, u32 n)
{
	this_cpu_add(session->counts->count[count], n);
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

/* Nothing is under way that a reply could get into.  A handshake among it: TCP
 * would go on with that when it is to send, and may close the socket, where this
 * file holds the lock that the peer's end asks for.
 */
static bool sb_offload_is_plain(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return sk->sk_state == TCP_ESTABLISHED && !READ_ONCE(sk->sk_err) &&
	       !READ_ONCE(sk->sk_shutdown) && !sock_flag(sk, SOCK_DEAD) &&
	       !tp->urg_data && !tp->repair && !sb_defers_connect(sk) &&
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

/* What may be sent as one segment: the second of two might find no memory.  TCP
 * takes in what has become of a path's MTU when it sends.
 */
static u32 sb_offload_room(struct sock *sk)
{
	u32 headers = SB_HEADER_BYTES + inet_csk(sk)->icsk_ext_hdr_len;
	const struct dst_entry *dst = __sk_dst_get(sk);
	u32 mss = tcp_sk(sk)->mss_cache;

	if (dst) {
		u32 mtu = dst_mtu(dst);

		if (mtu != inet_csk(sk)->icsk_pmtu_cookie)
			mss = min(mss, max(mtu, headers) - headers);
	}
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
	scratch->frag.page = NULL;
	sk->sk_use_task_frag = false;
	sk->sk_allocation = gfp;
	sent = tcp_sendmsg_locked(sk, &msg, n);
	sk->sk_allocation = allocation;
	sk->sk_use_task_frag = use_task_frag;
	if (scratch->frag.page)
		put_page(scratch->frag.page);
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

/* Too soon after the last one, too many in one go to tell, or too many in all. */
static bool sb_offload_is_flood(const struct sb_offload *offload,
				const struct sb_profile *profile, u32 frames)
{
	u32 ms = profile->min_interval_ms, after = tcp_jiffies32 - offload->answered;

	if (!frames || !offload->has_answered)
		return ms && frames > 1;
	if (after < HZ && offload->burst >= SB_BURST_MAX)
		return true;
	return ms && (frames > 1 || after < msecs_to_jiffies(ms));
}

/* How many answers to probes may come.  One that is a heartbeat, too, would be
 * answered by who does not expect it; the peer answers that, and there is no end.
 * So they are counted, however many, and whichever profile's.
 */
static u32 sb_offload_probed(const struct sb_offload *offload,
			     const struct sb_session_profile *p, u8 id)
{
	return p->is_echo ? offload->echoes : id == offload->expected;
}

static void sb_offload_taken(struct sb_offload *offload,
			     const struct sb_session_profile *p,
			     const struct sb_match *found)
{
	const struct sb_session *session = offload->peer->session;
	u32 answered = found->frames - found->answers, now = tcp_jiffies32;

	WRITE_ONCE(offload->heard, now);
	if (found->answers) {
		offload->expected = 0;
		if (p->is_echo)
			offload->echoes -= found->answers;
		sb_count(session, SB_PROBES_ANSWERED, found->answers);
	}
	if (answered) {
		if (now - offload->answered >= HZ)
			offload->burst = 0;
		/* No more than SB_BURST_MAX and what is answered at once. */
		offload->burst += answered;
		offload->answered = now;
		offload->has_answered = true;
		sb_count(session, SB_ANSWERED, answered);
	}
}

/* The application sees all that is unread, a probe's answer maybe included.  Of
 * an echo it makes one heartbeat more, whose answer is taken in its place.
 */
static void sb_offload_passed(struct sb_offload *offload, enum sb_count reason)
{
	if (reason != SB_PASS_PARTIAL)
		offload->expected = 0;
	if (reason == SB_PASS_RATE)
		offload->burst = 0;
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
			     sb_offload_probed(offload, p, id), scratch->out,
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
	sb_offload_taken(offload, p, &found);
	return SB_ANSWERED;
}

/**
 * sb_offload_ready - what takes the place of sk_data_ready
 * @sk: the socket
 *
 * Context: called by TCP with the socket's lock, mostly in softirq.
 */
void sb_offload_ready(struct sock *sk)
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

/* Send a probe.  BH is off, as above. */
static bool sb_offload_try_probe(struct sock *sk, struct sb_offload *offload)
{
	struct sb_peer *peer = offload->peer;
	const struct sb_session_profile *p;
	struct sb_scratch *scratch;
	u32 n;
	u8 id;

	if (!READ_ONCE(offload->probe_after_ms) || sock_owned_by_user(sk) ||
	    inet_csk(sk)->icsk_ulp_ops || !sb_offload_is_plain(sk) ||
	    !sb_offload_in_place(sk, offload, false) || !sb_offload_can_send(sk))
		return false;
	id = READ_ONCE(offload->profile);
	p = rcu_dereference_bh(peer->session->profile[id]);
	/* Who ignores echoes would have as many of its own taken for them. */
	if (!p || (p->is_echo && (offload->expected || offload->echoes == U8_MAX)))
		return false;
	n = p->profile.probe_len;
	scratch = this_cpu_ptr(sb_scratch);
	memcpy(scratch->out, p->profile.probe, n);
	if (!n || n > sb_offload_room(sk) ||
	    !sb_offload_send(sk, scratch, scratch->out, n))
		return false;
	WRITE_ONCE(peer->tx_base, peer->tx_base + n);
	offload->expected = id;
	offload->echoes += p->is_echo;
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

/**
 * sb_answer_init - allocate what processors work with
 *
 * Context: process, may sleep.
 * Return: 0 or -ENOMEM.
 */
int __init sb_answer_init(void)
{
	sb_scratch = alloc_percpu(struct sb_scratch);
	return sb_scratch ? 0 : -ENOMEM;
}

/**
 * sb_answer_exit - undo sb_answer_init()
 *
 * Context: process; no socket leads here any more, nor will a callback that has
 * begun.
 */
void sb_answer_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct page *page = per_cpu_ptr(sb_scratch, cpu)->frag.page;

		if (page)
			put_page(page);
	}
	free_percpu(sb_scratch);
}
