// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filling in attributes: counters, peers, events.
 */
#include <net/tcp.h>

#include "netlink.h"

/**
 * struct sb_u32 - an attribute of that type
 * @type: which
 * @value: its value
 */
struct sb_u32 {
	int type;
	u32 value;
};

static bool sb_put_u32s(struct sk_buff *skb, const struct sb_u32 *values, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (nla_put_u32(skb, values[i].type, values[i].value))
			return false;
	}
	return true;
}

static int sb_put_stats(struct sk_buff *skb, const struct sb_session *session)
{
	struct nlattr *nest = nla_nest_start(skb, SOCKBEAT_A_SESSION_STATS);
	static const u8 sums[] = {
		[SB_ANSWERED] = SOCKBEAT_A_STATS_ANSWERED,
		[SB_PASS_DATA] = SOCKBEAT_A_STATS_PASS_DATA,
		[SB_PASS_PARTIAL] = SOCKBEAT_A_STATS_PASS_PARTIAL,
		[SB_PASS_POSITION] = SOCKBEAT_A_STATS_PASS_POSITION,
		[SB_PASS_QUEUE] = SOCKBEAT_A_STATS_PASS_QUEUE,
		[SB_PASS_OWNED] = SOCKBEAT_A_STATS_PASS_OWNED,
		[SB_PASS_MEMORY] = SOCKBEAT_A_STATS_PASS_MEMORY,
		[SB_PASS_RATE] = SOCKBEAT_A_STATS_PASS_RATE,
		[SB_PASS_STATE] = SOCKBEAT_A_STATS_PASS_STATE,
		[SB_PASS_FOREIGN] = SOCKBEAT_A_STATS_PASS_FOREIGN,
		[SB_PROBES] = SOCKBEAT_A_STATS_PROBES,
		[SB_PROBES_ANSWERED] = SOCKBEAT_A_STATS_PROBES_ANSWERED,
		[SB_PROBES_SKIPPED] = SOCKBEAT_A_STATS_PROBES_SKIPPED,
	};
	const struct sb_stats *stats = &session->stats;
	const struct {
		int type;
		u64 value;
	} counters[] = {
		{ SOCKBEAT_A_STATS_ADDED, stats->added },
		{ SOCKBEAT_A_STATS_DELETED, stats->deleted },
		{ SOCKBEAT_A_STATS_SILENCES, stats->silences },
		{ SOCKBEAT_A_STATS_RECOVERIES, stats->recoveries },
		{ SOCKBEAT_A_STATS_SOCKETS_GONE, stats->sockets_gone },
		{ SOCKBEAT_A_STATS_EVENTS, stats->events },
		{ SOCKBEAT_A_STATS_MESSAGES, stats->messages },
		{ SOCKBEAT_A_STATS_DEFERRALS, stats->deferrals },
		{ SOCKBEAT_A_STATS_BAD_STAMPS, stats->bad_stamps },
		{ SOCKBEAT_A_STATS_TICKS, stats->ticks },
		{ SOCKBEAT_A_STATS_TICK_NS, stats->tick_ns },
		{ SOCKBEAT_A_STATS_CHECKS, stats->checks },
		{ SOCKBEAT_A_STATS_POSTPONED, stats->postponed },
		{ SOCKBEAT_A_STATS_RECYCLES, stats->recycles },
		{ SOCKBEAT_A_STATS_RECYCLED, stats->recycled },
		{ SOCKBEAT_A_STATS_SUSPECTS, stats->suspects },
		{ SOCKBEAT_A_STATS_SHUTDOWNS, stats->shutdowns },
		{ SOCKBEAT_A_STATS_ABORTS, stats->aborts },
		{ SOCKBEAT_A_STATS_ACTS_DEFERRED, stats->acts_deferred },
		{ SOCKBEAT_A_STATS_ACTS_GUARDED, stats->acts_guarded },
		{ SOCKBEAT_A_STATS_GUARDS, stats->guards },
	};
	unsigned int i;

	if (!nest ||
	    nla_put_u32(skb, SOCKBEAT_A_STATS_LIVE,
			stats->count[SOCKBEAT_STATE_LIVE]) ||
	    nla_put_u32(skb, SOCKBEAT_A_STATS_SILENT,
			stats->count[SOCKBEAT_STATE_SILENT]) ||
	    nla_put_u32(skb, SOCKBEAT_A_STATS_GONE,
			stats->count[SOCKBEAT_STATE_GONE]) ||
	    nla_put_u32(skb, SOCKBEAT_A_STATS_RECYCLING,
			stats->count[SOCKBEAT_STATE_RECYCLING]))
		return -EMSGSIZE;
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		if (nla_put_u64_64bit(skb, counters[i].type, counters[i].value,
				      SOCKBEAT_A_STATS_PAD))
			return -EMSGSIZE;
	}
	for (i = 0; i < ARRAY_SIZE(sums); i++) {
		if (nla_put_u64_64bit(skb, sums[i], sb_offload_sum(session, i),
				      SOCKBEAT_A_STATS_PAD))
			return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

/**
 * sb_put_session - add a session's settings and counters to a message
 * @skb: the message, for a reader in the sender's namespaces
 * @session: the session
 *
 * Context: session->lock held.
 * Return: 0 or -EMSGSIZE.
 */
int sb_put_session(struct sk_buff *skb, const struct sb_session *session)
{
	const struct sb_policy *policy = &session->policy;
	const struct sb_guard *guard = &session->guard;
	const struct sb_u32 values[] = {
		{ SOCKBEAT_A_SESSION_ID, session->id },
		{ SOCKBEAT_A_SESSION_CAPACITY, session->capacity },
		{ SOCKBEAT_A_SESSION_TIMEOUT_MS, policy->timeout_ms },
		{ SOCKBEAT_A_SESSION_RENOTIFY_MS, policy->renotify_ms },
		{ SOCKBEAT_A_SESSION_SOURCE, policy->source },
		{ SOCKBEAT_A_SESSION_TRIGGER, policy->trigger },
		{ SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS, session->recycle_delay_ms },
		{ SOCKBEAT_A_SESSION_ACTION, policy->action },
		{ SOCKBEAT_A_SESSION_ACT_AFTER_MS, policy->act_after_ms },
		{ SOCKBEAT_A_SESSION_SUSPECT_PERCENT, policy->suspect_percent },
		{ SOCKBEAT_A_SESSION_ADAPTIVE_BEATS, policy->adaptive_beats },
		{ SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS, session->adaptive_min_ms },
		{ SOCKBEAT_A_SESSION_GUARD_PERCENT, guard->percent },
		{ SOCKBEAT_A_SESSION_GUARD_WINDOW_MS, guard->window_ms },
		{ SOCKBEAT_A_SESSION_GUARDING, guard->active },
		{ SOCKBEAT_A_SESSION_TICK_MS, session->tick_ms },
		{ SOCKBEAT_A_SESSION_PORT, session->portid },
		{ SOCKBEAT_A_SESSION_PID, pid_vnr(session->pid) },
		{ SOCKBEAT_A_SESSION_UID,
		  from_kuid_munged(current_user_ns(), sb_user_uid(session->user)) },
	};

	if (!sb_put_u32s(skb, values, ARRAY_SIZE(values)) ||
	    nla_put_u64_64bit(skb, SOCKBEAT_A_SESSION_CLOCK_MS, sb_now_ms(),
			      SOCKBEAT_A_SESSION_PAD))
		return -EMSGSIZE;
	return sb_put_stats(skb, session);
}

static bool sb_put_quarantine(struct sk_buff *skb, const struct sb_peer *peer,
			      u64 now_ms)
{
	u64 left_ms = peer->recycle_end_ms > now_ms ?
		      peer->recycle_end_ms - now_ms : 0;

	return !nla_put_u64_64bit(skb, SOCKBEAT_A_PEER_LEFT_MS, left_ms,
				  SOCKBEAT_A_PEER_PAD) &&
	       (!peer->hold || !nla_put_flag(skb, SOCKBEAT_A_PEER_HOLD));
}

static bool sb_put_offload(struct sk_buff *skb, const struct sb_peer *peer)
{
	struct sb_offload_info info;

	if (!peer->offload)
		return true;
	sb_offload_info(peer, &info);
	return !nla_put_u32(skb, SOCKBEAT_A_PEER_PROFILE, info.profile) &&
	       !nla_put_u32(skb, SOCKBEAT_A_PEER_PROBE_AFTER_MS,
			    info.probe_after_ms) &&
	       !nla_put_s32(skb, SOCKBEAT_A_PEER_RX_BEHIND, info.rx_behind) &&
	       !nla_put_s32(skb, SOCKBEAT_A_PEER_TX_BEHIND, info.tx_behind);
}

static bool sb_put_addr(struct sk_buff *skb, int type, const struct sb_addr *addr)
{
	return !nla_put(skb, type, addr->len, addr->bytes);
}

/* Its owner may close it at any time, so all may be about to change. */
static bool sb_put_sock(struct sk_buff *skb, const struct sock *sk)
{
	struct sb_addr local, remote;
	struct sb_u32 values[] = {
		{ SOCKBEAT_A_PEER_TCP_STATE, READ_ONCE(sk->sk_state) },
		{ SOCKBEAT_A_PEER_FAMILY },
		{ SOCKBEAT_A_PEER_LOCAL_PORT },
		{ SOCKBEAT_A_PEER_REMOTE_PORT },
	};

	sb_sock_addrs(sk, &local, &remote);
	values[1].value = local.len == sizeof(struct in6_addr) ? AF_INET6 : AF_INET;
	values[2].value = local.port;
	values[3].value = remote.port;
	return sb_put_u32s(skb, values, ARRAY_SIZE(values)) &&
	       sb_put_addr(skb, SOCKBEAT_A_PEER_LOCAL_ADDR, &local) &&
	       sb_put_addr(skb, SOCKBEAT_A_PEER_REMOTE_ADDR, &remote) &&
	       !nla_put_u64_64bit(skb, SOCKBEAT_A_PEER_COOKIE,
				  atomic64_read(&sk->sk_cookie),
				  SOCKBEAT_A_PEER_PAD);
}

static bool sb_put_tracking(struct sk_buff *skb, struct sb_peer *peer,
			    u64 now_ms)
{
	u64 idle_ms = sb_peer_peek_ms(peer, now_ms);
	const struct sb_policy *policy = &peer->policy;
	struct sb_adapt rhythm = sb_peer_rhythm(peer);
	const struct sb_u32 values[] = {
		{ SOCKBEAT_A_PEER_TIMEOUT_MS, policy->timeout_ms },
		{ SOCKBEAT_A_PEER_SOURCE, policy->source },
		{ SOCKBEAT_A_PEER_TRIGGER, policy->trigger },
		{ SOCKBEAT_A_PEER_RENOTIFY_MS, policy->renotify_ms },
		{ SOCKBEAT_A_PEER_ACTION, policy->action },
		{ SOCKBEAT_A_PEER_ACT_AFTER_MS, policy->act_after_ms },
		{ SOCKBEAT_A_PEER_SUSPECT_PERCENT, policy->suspect_percent },
		{ SOCKBEAT_A_PEER_LIMIT_MS, sb_peer_limit_ms(peer) },
		/* Last: not shown where there is none. */
		{ SOCKBEAT_A_PEER_ADAPTIVE_BEATS, policy->adaptive_beats },
		{ SOCKBEAT_A_PEER_INTERVAL_MS, rhythm.interval_ms },
		{ SOCKBEAT_A_PEER_DEVIATION_MS, rhythm.deviation_ms },
	};
	unsigned int n = ARRAY_SIZE(values);

	if (!policy->adaptive_beats)
		n -= 3;
	else if (rhythm.samples < 2)
		n -= 2;
	return sb_put_u32s(skb, values, n) &&
	       !nla_put_u64_64bit(skb, SOCKBEAT_A_PEER_IDLE_MS, idle_ms,
				  SOCKBEAT_A_PEER_PAD) &&
	       (!peer->suspect || !nla_put_flag(skb, SOCKBEAT_A_PEER_SUSPECT)) &&
	       sb_put_offload(skb, peer) &&
	       (!peer->sk || sb_put_sock(skb, peer->sk));
}

static bool sb_put_peer(struct sk_buff *skb, struct sb_peer *peer, u64 now_ms)
{
	struct nlattr *nest = nla_nest_start(skb, SOCKBEAT_A_SESSION_PEER);

	if (!nest ||
	    nla_put_u64_64bit(skb, SOCKBEAT_A_PEER_HANDLE, sb_peer_handle(peer),
			      SOCKBEAT_A_PEER_PAD) ||
	    nla_put_u64_64bit(skb, SOCKBEAT_A_PEER_USER_DATA, peer->user_data,
			      SOCKBEAT_A_PEER_PAD) ||
	    nla_put_u32(skb, SOCKBEAT_A_PEER_STATE, peer->state))
		return false;
	if (peer->state == SOCKBEAT_STATE_RECYCLING ?
	    !sb_put_quarantine(skb, peer, now_ms) :
	    !sb_put_tracking(skb, peer, now_ms))
		return false;
	nla_nest_end(skb, nest);
	return true;
}

/**
 * sb_put_peer_msg - complete a message that shows one peer
 * @skb: the message
 * @header: its header, cancelled where there is no room
 * @peer: the peer
 *
 * Context: session->lock held.
 * Return: whether there was room.
 */
bool sb_put_peer_msg(struct sk_buff *skb, void *header, struct sb_peer *peer)
{
	if (nla_put_u32(skb, SOCKBEAT_A_SESSION_ID, peer->session->id) ||
	    !sb_put_peer(skb, peer, sb_now_ms())) {
		genlmsg_cancel(skb, header);
		return false;
	}
	genlmsg_end(skb, header);
	return true;
}

/**
 * sb_message_new - begin an event message
 * @session: the session
 *
 * Context: process, may sleep.
 * Return: the message, or NULL.
 */
struct sk_buff *sb_message_new(struct sb_session *session)
{
	struct sk_buff *skb = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);

	if (!skb)
		return NULL;
	if (!genlmsg_put(skb, 0, 0, &sb_family, 0, SOCKBEAT_CMD_PEER_EVENT) ||
	    nla_put_u32(skb, SOCKBEAT_A_SESSION_ID, session->id)) {
		nlmsg_free(skb);
		return NULL;
	}
	return skb;
}

/* The times of an event: what it counts from differs. */
static bool sb_put_when(struct sk_buff *skb, struct sb_peer *peer, u64 now_ms)
{
	u64 idle_ms, limit_ms, late_ms;

	if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		late_ms = now_ms > peer->recycle_end_ms ?
			  now_ms - peer->recycle_end_ms : 0;
		return !nla_put_u64_64bit(skb, SOCKBEAT_A_EVENT_LATE_MS, late_ms,
					  SOCKBEAT_A_EVENT_PAD);
	}
	idle_ms = sb_peer_peek_ms(peer, now_ms);
	limit_ms = sb_peer_limit_ms(peer);
	/* The peer may have been heard since it was found silent. */
	late_ms = idle_ms > limit_ms ? idle_ms - limit_ms : 0;
	return !nla_put_u64_64bit(skb, SOCKBEAT_A_EVENT_IDLE_MS, idle_ms,
				  SOCKBEAT_A_EVENT_PAD) &&
	       (peer->pending != SB_TELL_SILENT ||
		!nla_put_u64_64bit(skb, SOCKBEAT_A_EVENT_LATE_MS, late_ms,
				   SOCKBEAT_A_EVENT_PAD)) &&
	       (peer->state != SOCKBEAT_STATE_GONE || !peer->acted ||
		!nla_put_u32(skb, SOCKBEAT_A_EVENT_ACTION, peer->acted)) &&
	       !nla_put_u32(skb, SOCKBEAT_A_EVENT_TCP_STATE,
			    peer->sk ? READ_ONCE(peer->sk->sk_state) : TCP_CLOSE);
}

/**
 * sb_message_put - add what a peer has to tell to an event message
 * @skb: from sb_message_new()
 * @peer: a peer on the ready list
 * @now_ms: sb_now_ms()
 *
 * Context: session->lock held.
 * Return: false, with @skb as it was, where there is no room.
 */
bool sb_message_put(struct sk_buff *skb, struct sb_peer *peer, u64 now_ms)
{
	static const u32 kinds[] = {
		[SB_TELL_SILENT] = SOCKBEAT_EVENT_KIND_SILENT,
		[SB_TELL_HEARD] = SOCKBEAT_EVENT_KIND_HEARD,
		[SB_TELL_GONE] = SOCKBEAT_EVENT_KIND_GONE,
		[SB_TELL_RECYCLED] = SOCKBEAT_EVENT_KIND_RECYCLED,
		[SB_TELL_SUSPECT] = SOCKBEAT_EVENT_KIND_SUSPECT,
	};
	struct nlattr *nest = nla_nest_start(skb, SOCKBEAT_A_SESSION_EVENT);

	if (!nest)
		return false;
	if (nla_put_u32(skb, SOCKBEAT_A_EVENT_KIND, kinds[peer->pending]) ||
	    nla_put_u64_64bit(skb, SOCKBEAT_A_EVENT_HANDLE, sb_peer_handle(peer),
			      SOCKBEAT_A_EVENT_PAD) ||
	    nla_put_u64_64bit(skb, SOCKBEAT_A_EVENT_USER_DATA, peer->user_data,
			      SOCKBEAT_A_EVENT_PAD) ||
	    !sb_put_when(skb, peer, now_ms)) {
		nla_nest_cancel(skb, nest);
		return false;
	}
	nla_nest_end(skb, nest);
	return true;
}

/**
 * sb_message_put_guard - add whether the guard is active to an event message
 * @skb: from sb_message_new(), with nothing in it
 * @session: the session
 *
 * Context: session->lock held.
 * Return: whether there was room.
 */
bool sb_message_put_guard(struct sk_buff *skb, const struct sb_session *session)
{
	struct nlattr *nest = nla_nest_start(skb, SOCKBEAT_A_SESSION_EVENT);

	if (!nest ||
	    nla_put_u32(skb, SOCKBEAT_A_EVENT_KIND, session->guard.active ?
			SOCKBEAT_EVENT_KIND_GUARD : SOCKBEAT_EVENT_KIND_GUARD_OVER) ||
	    nla_put_u64_64bit(skb, SOCKBEAT_A_EVENT_HANDLE, 0, SOCKBEAT_A_EVENT_PAD) ||
	    nla_put_u32(skb, SOCKBEAT_A_EVENT_PEERS,
			session->stats.count[SOCKBEAT_STATE_SILENT]))
		return false;
	nla_nest_end(skb, nest);
	return true;
}

/**
 * sb_message_send - send an event message
 * @net: the session's namespace
 * @skb: the message; consumed
 * @portid: who gets it; whoever monitors the namespace gets what that one got,
 *	    or is told that something was lost
 *
 * Context: process, may sleep.
 * Return: 0, -EAGAIN where the receiver's buffer is full, -ECONNREFUSED where
 * there is no such port.
 */
int sb_message_send(struct net *net, struct sk_buff *skb, u32 portid)
{
	struct nlmsghdr *nlh = nlmsg_hdr(skb);
	struct sk_buff *copy = NULL;
	bool monitored;
	int err;

	genlmsg_end(skb, genlmsg_data(nlmsg_data(nlh)));
	monitored = genl_has_listeners(&sb_family, net, SOCKBEAT_NLGRP_MONITOR);
	if (monitored)
		copy = skb_copy(skb, GFP_KERNEL);
	err = genlmsg_unicast(net, skb, portid);
	if (err)
		kfree_skb(copy);
	else if (copy)
		genlmsg_multicast_netns(&sb_family, net, copy, 0,
					SOCKBEAT_NLGRP_MONITOR, GFP_KERNEL);
	else if (monitored)
		genl_set_err(&sb_family, net, 0, SOCKBEAT_NLGRP_MONITOR, -ENOBUFS);
	return err;
}
