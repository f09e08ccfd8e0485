// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delayed recycle: the slot of a peer that was retired stays in quarantine
 * until nobody can still be working for that peer, and only then is it given
 * to another one.
 *
 * The peer itself waits in its slot, on the session's wheel, without its
 * socket.  Its handle stays valid, so it can be looked at and its quarantine
 * can be made longer, and the news of its end cannot be lost: who holds the
 * session may die meanwhile, the peer tells whoever takes it over.
 */
#include "netlink.h"
#include "trace.h"

/* Nobody was told, or the one who held the slot let go: it is free now. */
static void sb_recycle_free(struct sb_peer *peer)
{
	peer->session->stats.recycled++;
	sb_peer_leave(peer);
}

static u32 sb_recycle_delay(const struct sb_session *session,
			    const struct sb_peer_conf *conf)
{
	return sb_conf_has(conf, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS) ?
	       conf->delay_ms : session->recycle_delay_ms;
}

/**
 * sb_recycle_begin - retire a peer
 * @peer: a peer that is not in quarantine; may be freed
 * @conf: delay, or the session's default, and hold
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held. The caller schedules the session's work.
 * Return: the socket for the caller to put when the lock is dropped, or NULL
 * where it had gone.
 */
struct sock *sb_recycle_begin(struct sb_peer *peer,
			      const struct sb_peer_conf *conf, u64 now_ms)
{
	struct sb_session *session = peer->session;
	u32 delay_ms = sb_recycle_delay(session, conf);
	struct sock *sk = sb_peer_let_go(peer);

	lockdep_assert_held(&session->lock);

	session->stats.recycles++;
	trace_sockbeat_recycle(peer, delay_ms);
	if (!delay_ms && !conf->hold) {
		sb_recycle_free(peer);
		return sk;
	}
	sb_event_drop(peer);
	sb_peer_become(peer, SOCKBEAT_STATE_RECYCLING);
	peer->hold = conf->hold;
	peer->told = false;
	peer->acting = false;
	peer->acted = SOCKBEAT_ACTION_NOTIFY;
	peer->suspect = false;
	/* The end of this millisecond: a quarantine is never too short. */
	peer->recycle_end_ms = now_ms + 1 + delay_ms;
	if (delay_ms)
		sb_session_arm(session, peer, peer->recycle_end_ms);
	else
		sb_event_push(peer, SB_TELL_RECYCLED);
	return sk;
}

/**
 * sb_recycle_check - look at a peer in quarantine whose bucket has come due
 * @peer: the peer, on no bucket now
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
void sb_recycle_check(struct sb_peer *peer, u64 now_ms)
{
	if (now_ms < peer->recycle_end_ms)
		sb_session_arm(peer->session, peer, peer->recycle_end_ms);
	else
		sb_event_push(peer, SB_TELL_RECYCLED);
}

/**
 * sb_recycle_told - the receiver has the event that a quarantine is over
 * @peer: the peer; freed unless it is held
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 */
void sb_recycle_told(struct sb_peer *peer, u64 now_ms)
{
	if (!peer->hold) {
		sb_recycle_free(peer);
		return;
	}
	peer->told = true;
	sb_event_drop(peer);
	sb_session_arm(peer->session, peer, now_ms + peer->policy.renotify_ms);
}

/* A message under way counts as told. */
static int sb_recycle_may_extend(struct sb_request *req,
				 struct netlink_ext_ack *extack)
{
	unsigned int i;

	for (i = 0; i < req->n; i++) {
		if (!req->entry[i].peer->told && !req->entry[i].peer->sending)
			continue;
		sb_extack(extack, req->entry[i].attr,
			  "the end of the quarantine was reported");
		return -EALREADY;
	}
	return 0;
}

static void sb_recycle_extend(struct sb_peer *peer, u64 end_ms)
{
	if (peer->recycle_end_ms >= end_ms)
		return;
	/* On the wheel it is looked at early and moves on by itself. */
	peer->recycle_end_ms = end_ms;
	if (peer->pending != SB_TELL_NOTHING) {
		sb_event_drop(peer);
		sb_session_arm(peer->session, peer, end_ms);
	}
}

/* Put the sockets, or have them ended. */
static void sb_recycle_sockets(struct sb_request *req, struct sb_later *later)
{
	unsigned int i;

	for (i = 0; i < req->n; i++) {
		struct sock *sk = req->entry[i].sk;

		if (sk && req->entry[i].conf.end != SOCKBEAT_END_NONE)
			sb_later_end(later, sk, req->entry[i].conf.end);
		else if (sk)
			sock_put(sk);
	}
}

int sockbeat_nl_peer_recycle_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_later *later = NULL;
	struct sb_session *session;
	struct sb_request req;
	unsigned int i, ends = 0;
	u64 now_ms;
	int err;

	err = sb_request_begin(&req, skb, info, SB_KEY_HANDLE,
			       BIT(SOCKBEAT_A_PEER_RECYCLE_DELAY_MS) |
			       BIT(SOCKBEAT_A_PEER_END) |
			       BIT(SOCKBEAT_A_PEER_HOLD));
	if (err)
		return err;
	for (i = 0; i < req.n; i++) {
		ends += req.entry[i].conf.end != SOCKBEAT_END_NONE;
		/* The slot is its holder's, who knows of nothing. */
		if (info->attrs[SOCKBEAT_A_SESSION_ID])
			req.entry[i].conf.hold = true;
	}
	if (ends) {
		later = sb_later_new(ends);
		err = later ? 0 : -ENOMEM;
	}
	session = req.session;
	spin_lock_bh(&session->lock);
	if (!err)
		err = sb_request_mark(&req, SB_TRACKED, info->extack);
	now_ms = sb_now_ms();
	for (i = 0; !err && i < req.n; i++)
		req.entry[i].sk = sb_recycle_begin(req.entry[i].peer,
						   &req.entry[i].conf, now_ms);
	sb_request_kick(session);
	spin_unlock_bh(&session->lock);
	sb_recycle_sockets(&req, later);
	sb_later_run(later);
	sb_request_end(&req);
	return err;
}

int sockbeat_nl_recycle_extend_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_session *session;
	struct sb_request req;
	unsigned int i;
	u64 now_ms;
	int err;

	err = sb_request_begin(&req, skb, info, SB_KEY_HANDLE,
			       BIT(SOCKBEAT_A_PEER_RECYCLE_DELAY_MS));
	if (err)
		return err;
	session = req.session;
	spin_lock_bh(&session->lock);
	err = sb_request_mark(&req, SB_RECYCLING, info->extack);
	if (!err)
		err = sb_recycle_may_extend(&req, info->extack);
	now_ms = sb_now_ms();
	for (i = 0; !err && i < req.n; i++)
		sb_recycle_extend(req.entry[i].peer, now_ms + 1 +
				  sb_recycle_delay(session, &req.entry[i].conf));
	sb_request_kick(session);
	spin_unlock_bh(&session->lock);
	sb_request_end(&req);
	return err;
}
