// SPDX-License-Identifier: GPL-2.0-only
/*
 * The requests on peers, as uapi/sockbeat.yaml describes them.
 *
 * A batch is done whole or not at all.  No more of it than SB_BATCH_MAX peers
 * is worked on under the session's lock.
 */
#include <linux/file.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <net/tcp.h>

#include "netlink.h"

/* How long a batch may wait for sockets that other threads are using. */
#define SB_ADD_WAIT_MS	100

#define SB_CONF		(BIT(SOCKBEAT_A_PEER_TIMEOUT_MS) | \
			 BIT(SOCKBEAT_A_PEER_SOURCE) | \
			 BIT(SOCKBEAT_A_PEER_TRIGGER) | \
			 BIT(SOCKBEAT_A_PEER_ACTION) | \
			 BIT(SOCKBEAT_A_PEER_ACT_AFTER_MS) | \
			 BIT(SOCKBEAT_A_PEER_SUSPECT_PERCENT) | \
			 BIT(SOCKBEAT_A_PEER_RENOTIFY_MS) | \
			 BIT(SOCKBEAT_A_PEER_ADAPTIVE_BEATS) | \
			 BIT(SOCKBEAT_A_PEER_USER_DATA) | \
			 BIT(SOCKBEAT_A_PEER_PROFILE) | \
			 BIT(SOCKBEAT_A_PEER_PROBE_AFTER_MS))

/* What only who has the session's fd may set. */
#define SB_HOLDERS_CONF	(BIT(SOCKBEAT_A_PEER_USER_DATA) | \
			 BIT(SOCKBEAT_A_PEER_PROFILE))

static u32 sb_entry_u32(struct sb_peer_conf *conf, struct nlattr **tb, unsigned int type)
{
	if (!tb[type])
		return 0;
	conf->given |= BIT(type);
	return nla_get_u32(tb[type]);
}

/* The policy has seen to the ranges; what is absent is not looked at. */
static void sb_entry_conf(struct sb_peer_conf *conf, struct nlattr **tb)
{
	struct sb_policy *policy = &conf->policy;

	policy->timeout_ms = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_TIMEOUT_MS);
	policy->renotify_ms = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_RENOTIFY_MS);
	policy->act_after_ms = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_ACT_AFTER_MS);
	policy->source = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_SOURCE);
	policy->trigger = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_TRIGGER);
	policy->action = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_ACTION);
	policy->adaptive_beats = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_ADAPTIVE_BEATS);
	policy->suspect_percent = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_SUSPECT_PERCENT);
	conf->delay_ms = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS);
	conf->probe_after_ms = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_PROBE_AFTER_MS);
	conf->profile = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_PROFILE);
	conf->end = sb_entry_u32(conf, tb, SOCKBEAT_A_PEER_END);
	conf->hold = tb[SOCKBEAT_A_PEER_HOLD];
	if (tb[SOCKBEAT_A_PEER_USER_DATA]) {
		conf->given |= BIT(SOCKBEAT_A_PEER_USER_DATA);
		conf->user_data = nla_get_u64(tb[SOCKBEAT_A_PEER_USER_DATA]);
	}
}

static int sb_entry_parse(struct sb_entry *entry, unsigned long key,
			  unsigned long allowed, struct netlink_ext_ack *extack)
{
	struct nlattr *tb[SOCKBEAT_A_PEER_MAX + 1];
	unsigned int i;
	int err;

	err = nla_parse_nested(tb, SOCKBEAT_A_PEER_MAX, entry->attr,
			       sockbeat_peer_nl_policy, extack);
	if (err)
		return err;
	for (i = 0; i <= SOCKBEAT_A_PEER_MAX; i++) {
		if (tb[i] && !((key | allowed) & BIT_ULL(i))) {
			NL_SET_ERR_MSG_ATTR(extack, tb[i],
					    "request does not take this attribute of a peer");
			return -EINVAL;
		}
	}
	if (!tb[__ffs(key)]) {
		sb_extack(extack, entry->attr, key == SB_KEY_FD ?
			  "peer without fd" : "peer without handle");
		return -EINVAL;
	}
	if (key == SB_KEY_FD)
		entry->fd = nla_get_s32(tb[SOCKBEAT_A_PEER_FD]);
	else
		entry->handle = nla_get_u64(tb[SOCKBEAT_A_PEER_HANDLE]);
	sb_entry_conf(&entry->conf, tb);
	return 0;
}

/**
 * sb_request_entries - read the peers of a batch
 * @req: the request; its entries are filled in
 * @info: the message
 * @key: bit of the attribute that every peer must have
 * @allowed: bits of the attributes that it may have
 *
 * Context: process, may sleep.
 * Return: 0, -EINVAL, -E2BIG, -ENOMEM, with a reason in extack.
 */
int sb_request_entries(struct sb_request *req, struct genl_info *info,
		       unsigned long key, unsigned long allowed)
{
	const struct nlattr *attr;
	unsigned int i = 0;
	int rem, err;

	nlmsg_for_each_attr(attr, info->nlhdr, GENL_HDRLEN, rem)
		req->n += nla_type(attr) == SOCKBEAT_A_SESSION_PEER;
	if (!req->n || req->n > SB_BATCH_MAX) {
		NL_SET_ERR_MSG(info->extack, "request names no peer or more than 256");
		return req->n ? -E2BIG : -EINVAL;
	}
	req->entry = kvcalloc(req->n, sizeof(*req->entry), GFP_KERNEL);
	if (!req->entry)
		return -ENOMEM;
	nlmsg_for_each_attr(attr, info->nlhdr, GENL_HDRLEN, rem) {
		if (nla_type(attr) != SOCKBEAT_A_SESSION_PEER)
			continue;
		req->entry[i].attr = attr;
		err = sb_entry_parse(&req->entry[i++], key, allowed,
				     info->extack);
		if (err)
			return err;
	}
	return 0;
}

static int sb_request_may(const struct sb_peer *peer, unsigned long states,
			  const char **why)
{
	if (!peer) {
		*why = "no peer has this handle";
		return -ENOENT;
	}
	/* The mark finds a peer that is named twice. */
	if (peer->marked) {
		*why = "peer is named twice";
		return -EINVAL;
	}
	if (states & BIT(peer->state))
		return 0;
	if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		*why = "peer is in quarantine";
		return -EALREADY;
	}
	*why = "peer is not in quarantine";
	return -EINVAL;
}

/**
 * sb_request_mark - find all peers of a batch, or none
 * @req: the request, with its entries
 * @states: bits of the states that they may be in
 * @extack: for a reason
 *
 * Context: session->lock held.
 * Return: 0, -ENOENT for a handle that names no peer, -EINVAL for one that
 * is named twice or not in quarantine, -EALREADY for one that is.
 */
int sb_request_mark(struct sb_request *req, unsigned long states,
		    struct netlink_ext_ack *extack)
{
	struct sb_peer *peer;
	const char *why;
	unsigned int i;
	int err = 0;

	for (i = 0; i < req->n; i++) {
		peer = sb_peer_find(req->session, req->entry[i].handle);
		err = sb_request_may(peer, states, &why);
		if (err) {
			sb_extack(extack, req->entry[i].attr, why);
			break;
		}
		peer->marked = true;
		req->entry[i].peer = peer;
	}
	while (i--)
		req->entry[i].peer->marked = false;
	return err;
}

/* The socket of an fd, if it is of the kind that can be tracked. */
static struct socket *sb_entry_sock(struct sb_request *req, int fd,
				    int *err, const char **why)
{
	struct socket *sock = sockfd_lookup(fd, err);
	struct net *net;

	if (!sock) {
		*why = *err == -EBADF ? "fd is not open" : "fd is not a socket";
		return NULL;
	}
	if (!sk_is_tcp(sock->sk) || (sock->sk->sk_family != AF_INET &&
				     sock->sk->sk_family != AF_INET6)) {
		*why = "socket is not a TCP socket";
		*err = -EPROTONOSUPPORT;
		goto put;
	}
	spin_lock_bh(&req->session->lock);
	net = req->session->net;
	if (net && !net_eq(net, sock_net(sock->sk))) {
		*why = "socket belongs to another network namespace";
		*err = -EXDEV;
	}
	spin_unlock_bh(&req->session->lock);
	if (!*err)
		return sock;
put:
	sockfd_put(sock);
	return NULL;
}

static int sb_add_one(struct sb_request *req, struct sb_entry *entry,
		      u64 until_ms, const char **why)
{
	struct socket *sock;
	int err = 0;

	sock = sb_entry_sock(req, entry->fd, &err, why);
	if (!sock)
		return err;
	entry->peer = sb_peer_alloc(req->session, sock->sk, &entry->conf);
	if (!entry->peer) {
		*why = "no memory for a peer";
		err = -ENOMEM;
		goto put;
	}
	/* Once it is tracked, anyone who holds the session may delete it. */
	err = sb_peer_track(entry->peer, &entry->conf, &entry->handle, until_ms,
			    why);
	if (err)
		sb_peer_free(entry->peer);
put:
	sockfd_put(sock);
	return err;
}

/* Delete those of the first @n entries that still exist. */
static void sb_del_entries(struct sb_request *req, unsigned int n)
{
	struct sb_session *session = req->session;
	struct sock *socks[32];
	unsigned int i = 0, held;
	struct sb_peer *peer;

	while (i < n) {
		held = 0;
		spin_lock_bh(&session->lock);
		for (; i < n && held < ARRAY_SIZE(socks); i++) {
			peer = sb_peer_find(session, req->entry[i].handle);
			if (!peer)
				continue;
			socks[held] = sb_peer_untrack(peer);
			held += !!socks[held];
		}
		spin_unlock_bh(&session->lock);
		while (held)
			sock_put(socks[--held]);
	}
}

static void sb_extack_full(struct netlink_ext_ack *extack,
			   const struct nlattr *attr, struct sb_session *session)
{
	u32 count[ARRAY_SIZE(session->stats.count)];

	spin_lock_bh(&session->lock);
	memcpy(count, session->stats.count, sizeof(count));
	spin_unlock_bh(&session->lock);
	NL_SET_ERR_MSG_ATTR_FMT(extack, attr,
				"no free slot: %u live, %u silent, %u gone, %u in quarantine",
				count[SOCKBEAT_STATE_LIVE],
				count[SOCKBEAT_STATE_SILENT],
				count[SOCKBEAT_STATE_GONE],
				count[SOCKBEAT_STATE_RECYCLING]);
}

static int sb_add_entries(struct sb_request *req, u64 until_ms,
			  struct netlink_ext_ack *extack)
{
	const char *why = NULL;
	unsigned int i;
	int err;

	for (i = 0; i < req->n; i++) {
		err = sb_add_one(req, &req->entry[i], until_ms, &why);
		if (err)
			goto undo;
		cond_resched();
	}
	return 0;

undo:
	if (err == -ENOSPC)
		sb_extack_full(extack, req->entry[i].attr, req->session);
	else
		sb_extack(extack, req->entry[i].attr, why);
	sb_del_entries(req, i);
	return err;
}

/* The reply was sized for all of them before any was tracked. */
static void sb_put_handles(struct sk_buff *reply, const struct sb_request *req)
{
	struct nlattr *nest;
	unsigned int i;

	for (i = 0; i < req->n; i++) {
		nest = nla_nest_start(reply, SOCKBEAT_A_SESSION_PEER);
		if (WARN_ON_ONCE(!nest ||
				 nla_put_u64_64bit(reply, SOCKBEAT_A_PEER_HANDLE,
						   req->entry[i].handle,
						   SOCKBEAT_A_PEER_PAD)))
			return;
		nla_nest_end(reply, nest);
	}
}

int sockbeat_nl_peer_add_doit(struct sk_buff *skb, struct genl_info *info)
{
	u64 until_ms = sb_now_ms();
	struct sb_request req;
	struct sk_buff *reply;
	void *header;
	int err;

	if (sb_request_is_last(skb, info->nlhdr))
		until_ms += SB_ADD_WAIT_MS;
	err = sb_request_begin(&req, skb, info, SB_KEY_FD, SB_CONF);
	if (err)
		return err;
	/* Nothing may fail for lack of memory once peers are tracked. */
	reply = sb_reply_new(info, req.n * nla_total_size(nla_total_size_64bit(sizeof(u64))),
			     &header);
	if (!reply) {
		err = -ENOMEM;
		goto end;
	}
	err = sb_add_entries(&req, until_ms, info->extack);
	if (err) {
		nlmsg_free(reply);
		goto end;
	}
	sb_put_handles(reply, &req);
	genlmsg_end(reply, header);
	/* Who cannot be told the handles must not be left with the peers. */
	err = genlmsg_reply(reply, info);
	if (err)
		sb_del_entries(&req, req.n);
end:
	sb_request_end(&req);
	return err;
}

/* Peers that get a profile by peer-set may need an offload each. */
static int sb_set_alloc(struct sb_request *req)
{
	unsigned int i;

	for (i = 0; i < req->n; i++) {
		if (!req->entry[i].conf.profile)
			continue;
		req->entry[i].offload = sb_offload_alloc();
		if (!req->entry[i].offload)
			return -ENOMEM;
	}
	return 0;
}

static int sb_set_offload(struct sb_entry *entry, const char **why)
{
	struct sb_peer *peer = entry->peer;
	int err;

	err = sb_offload_check_conf(peer, &entry->conf, why);
	if (err || !entry->offload || peer->offload || !peer->sk)
		return err;
	err = sb_offload_attach(peer, entry->offload, why);
	if (!err) {
		entry->offload = NULL;
		entry->is_offloaded = true;
	}
	return err;
}

/* All that may fail of a peer-set. */
static int sb_set_offloads(struct sb_request *req, struct netlink_ext_ack *extack)
{
	const char *why;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < req->n; i++)
		err = sb_set_offload(&req->entry[i], &why);
	if (!err)
		return 0;
	sb_extack(extack, req->entry[i - 1].attr, why);
	while (i--) {
		if (req->entry[i].is_offloaded)
			sb_offload_detach(req->entry[i].peer);
	}
	return err;
}

int sockbeat_nl_peer_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	unsigned long conf = SB_CONF;
	struct sb_session *session;
	struct sb_request req;
	unsigned int i;
	u64 now_ms;
	int err;

	/* What the holder of the session works with is the holder's. */
	if (info->attrs[SOCKBEAT_A_SESSION_ID])
		conf &= ~SB_HOLDERS_CONF;
	err = sb_request_begin(&req, skb, info, SB_KEY_HANDLE, conf);
	if (err)
		return err;
	err = sb_set_alloc(&req);
	session = req.session;
	spin_lock_bh(&session->lock);
	if (!err)
		err = sb_request_mark(&req, SB_TRACKED, info->extack);
	if (!err)
		err = sb_set_offloads(&req, info->extack);
	now_ms = sb_now_ms();
	for (i = 0; !err && i < req.n; i++)
		sb_peer_set(req.entry[i].peer, &req.entry[i].conf, now_ms);
	sb_request_kick(session);
	spin_unlock_bh(&session->lock);
	for (i = 0; i < req.n; i++)
		sb_offload_free(req.entry[i].offload);
	sb_request_end(&req);
	return err;
}

int sockbeat_nl_peer_del_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_session *session;
	struct sb_request req;
	unsigned int i;
	int err;

	err = sb_request_begin(&req, skb, info, SB_KEY_HANDLE, 0);
	if (err)
		return err;
	session = req.session;
	spin_lock_bh(&session->lock);
	err = sb_request_mark(&req, ~0UL, info->extack);
	for (i = 0; !err && i < req.n; i++)
		req.entry[i].sk = sb_peer_untrack(req.entry[i].peer);
	sb_request_kick(session);
	spin_unlock_bh(&session->lock);
	for (i = 0; !err && i < req.n; i++) {
		if (req.entry[i].sk)
			sock_put(req.entry[i].sk);
	}
	sb_request_end(&req);
	return err;
}

/* Shut down or reset sockets of peers that go on being tracked. */
int sockbeat_nl_peer_end_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_session *session;
	struct sb_later *later;
	struct sb_request req;
	struct sock *sk;
	unsigned int i;
	int err;

	err = sb_request_begin(&req, skb, info, SB_KEY_HANDLE, BIT(SOCKBEAT_A_PEER_END));
	if (err)
		return err;
	later = sb_later_new(req.n);
	if (!later)
		err = -ENOMEM;
	session = req.session;
	spin_lock_bh(&session->lock);
	if (!err)
		err = sb_request_mark(&req, SB_TRACKED, info->extack);
	for (i = 0; !err && i < req.n; i++) {
		sk = req.entry[i].peer->sk;
		if (!sk)
			continue;
		sock_hold(sk);
		sb_later_end(later, sk, req.entry[i].conf.end);
	}
	spin_unlock_bh(&session->lock);
	sb_later_run(later);
	sb_request_end(&req);
	return err;
}
