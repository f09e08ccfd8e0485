// SPDX-License-Identifier: GPL-2.0-only
/*
 * The requests that show peers: one by its handle, or a dump of those that a
 * filter lets pass.
 */
#include <linux/file.h>
#include <linux/slab.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "netlink.h"

/**
 * sb_sock_addrs - both ends of a connection
 * @sk: a TCP socket, whose owner may close it meanwhile
 * @local: set to this end
 * @remote: set to the other
 *
 * What an IPv6 socket says to an IPv4 peer is IPv4.
 */
void sb_sock_addrs(const struct sock *sk, struct sb_addr *local, struct sb_addr *remote)
{
	local->port = READ_ONCE(sk->sk_num);
	remote->port = ntohs(READ_ONCE(sk->sk_dport));
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr)) {
		local->len = sizeof(struct in6_addr);
		remote->len = sizeof(struct in6_addr);
		memcpy(local->bytes, &sk->sk_v6_rcv_saddr, local->len);
		memcpy(remote->bytes, &sk->sk_v6_daddr, remote->len);
		return;
	}
#endif
	local->len = sizeof(struct in_addr);
	remote->len = sizeof(struct in_addr);
	memcpy(local->bytes, &sk->sk_rcv_saddr, local->len);
	memcpy(remote->bytes, &sk->sk_daddr, remote->len);
}

/**
 * struct sb_filter_end - what one end of a connection has to be
 * @addr: address and port
 * @prefix: bits of the address that count
 * @has_port: the port does
 */
struct sb_filter_end {
	struct sb_addr addr;
	u32 prefix;
	bool has_port;
};

/**
 * struct sb_filter - which peers a dump shows
 * @idle_ms: not heard for at least so long
 * @states: mask
 * @addr_len: length of their addresses, 0 for any
 * @local: this end
 * @remote: the other
 */
struct sb_filter {
	u64 idle_ms;
	u32 states;
	u32 addr_len;
	struct sb_filter_end local;
	struct sb_filter_end remote;
};

static bool sb_filter_end_fits(const struct sb_filter_end *end, const struct sb_addr *addr)
{
	u32 bytes = end->prefix / 8, bits = end->prefix % 8;

	if (end->has_port && end->addr.port != addr->port)
		return false;
	if (memcmp(end->addr.bytes, addr->bytes, bytes))
		return false;
	return !bits || !((end->addr.bytes[bytes] ^ addr->bytes[bytes]) >> (8 - bits));
}

static bool sb_filter_fits(const struct sb_filter *filter, struct sb_peer *peer)
{
	struct sb_addr local, remote;

	if (!(filter->states & BIT(peer->state)))
		return false;
	if (filter->idle_ms && (peer->state == SOCKBEAT_STATE_RECYCLING ||
				sb_peer_peek_ms(peer, sb_now_ms()) < filter->idle_ms))
		return false;
	if (!filter->addr_len && !filter->local.has_port && !filter->remote.has_port)
		return true;
	if (!peer->sk)
		return false;
	sb_sock_addrs(peer->sk, &local, &remote);
	return (!filter->addr_len || filter->addr_len == local.len) &&
	       sb_filter_end_fits(&filter->local, &local) &&
	       sb_filter_end_fits(&filter->remote, &remote);
}

/* The attributes of one end, whose types follow each other. */
static int sb_filter_end_parse(struct sb_filter *filter, struct sb_filter_end *end,
			       struct nlattr **tb, unsigned int addr,
			       struct netlink_ext_ack *extack)
{
	const struct nlattr *prefix = tb[addr + 1], *port = tb[addr + 2];
	u32 len = filter->addr_len;

	if (port) {
		end->has_port = true;
		end->addr.port = nla_get_u32(port);
	}
	if (!tb[addr]) {
		if (!prefix)
			return 0;
		NL_SET_ERR_MSG_ATTR(extack, prefix, "prefix without address");
		return -EINVAL;
	}
	end->addr.len = nla_len(tb[addr]);
	if ((end->addr.len != sizeof(struct in_addr) &&
	     end->addr.len != sizeof(struct in6_addr)) || (len && len != end->addr.len)) {
		NL_SET_ERR_MSG_ATTR(extack, tb[addr],
				    "address is not of 4 or 16 bytes, or of another family");
		return -EINVAL;
	}
	filter->addr_len = end->addr.len;
	memcpy(end->addr.bytes, nla_data(tb[addr]), end->addr.len);
	end->prefix = prefix ? nla_get_u32(prefix) : 8 * end->addr.len;
	if (end->prefix > 8 * end->addr.len) {
		NL_SET_ERR_MSG_ATTR(extack, prefix, "prefix is longer than the address");
		return -EINVAL;
	}
	return 0;
}

static int sb_filter_parse(struct sb_filter *filter, const struct nlattr *attr,
			   struct netlink_ext_ack *extack)
{
	struct nlattr *tb[SOCKBEAT_A_FILTER_MAX + 1];
	int err;

	BUILD_BUG_ON(SOCKBEAT_A_FILTER_LOCAL_PORT != SOCKBEAT_A_FILTER_LOCAL_ADDR + 2 ||
		     SOCKBEAT_A_FILTER_REMOTE_PORT != SOCKBEAT_A_FILTER_REMOTE_ADDR + 2);

	err = nla_parse_nested(tb, SOCKBEAT_A_FILTER_MAX, attr,
			       sockbeat_filter_nl_policy, extack);
	if (err)
		return err;
	if (tb[SOCKBEAT_A_FILTER_IDLE_MS])
		filter->idle_ms = nla_get_u64(tb[SOCKBEAT_A_FILTER_IDLE_MS]);
	if (tb[SOCKBEAT_A_FILTER_FAMILY]) {
		u32 family = nla_get_u32(tb[SOCKBEAT_A_FILTER_FAMILY]);

		if (family != AF_INET && family != AF_INET6) {
			NL_SET_ERR_MSG_ATTR(extack, tb[SOCKBEAT_A_FILTER_FAMILY],
					    "family is not AF_INET or AF_INET6");
			return -EINVAL;
		}
		filter->addr_len = family == AF_INET ? sizeof(struct in_addr) :
						       sizeof(struct in6_addr);
	}
	err = sb_filter_end_parse(filter, &filter->local, tb,
				  SOCKBEAT_A_FILTER_LOCAL_ADDR, extack);
	if (err)
		return err;
	return sb_filter_end_parse(filter, &filter->remote, tb,
				   SOCKBEAT_A_FILTER_REMOTE_ADDR, extack);
}

/* What is asked for and shown is the state of now: a silent peer that waits to be
 * told is not looked at by the wheel.
 */
static void sb_dump_refresh(struct sb_peer *peer)
{
	if (peer->state == SOCKBEAT_STATE_SILENT)
		sb_peer_revive(peer, sb_now_ms());
}

int sockbeat_nl_peer_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sb_session *session;
	struct sk_buff *reply = NULL;
	struct sb_request req;
	void *header;
	int err;

	if (info->attrs[SOCKBEAT_A_SESSION_STATES] ||
	    info->attrs[SOCKBEAT_A_SESSION_FILTER]) {
		NL_SET_ERR_MSG(info->extack, "states and filter are for dumps");
		return -EINVAL;
	}
	err = sb_request_begin(&req, skb, info, SB_KEY_HANDLE, 0);
	if (err)
		return err;
	if (req.n != 1) {
		sb_extack(info->extack, req.entry[1].attr,
			  "peer-get takes one peer, or none for a dump");
		err = -EINVAL;
		goto end;
	}
	reply = sb_reply_new(info, NLMSG_DEFAULT_SIZE, &header);
	if (!reply) {
		err = -ENOMEM;
		goto end;
	}
	session = req.session;
	spin_lock_bh(&session->lock);
	err = sb_request_mark(&req, ~0UL, info->extack);
	if (!err) {
		sb_dump_refresh(req.entry[0].peer);
		if (!sb_put_peer_msg(reply, header, req.entry[0].peer))
			err = -EMSGSIZE;
	}
	sb_request_kick(session);
	spin_unlock_bh(&session->lock);
end:
	sb_request_end(&req);
	if (!err)
		return genlmsg_reply(reply, info);
	nlmsg_free(reply);
	return err;
}

/**
 * struct sb_dump - where a dump stands, kept in netlink_callback.ctx
 * @file: the session's file, held from start to done, where the sender named
 *	  it by fd; NULL where it named it by id: who watches a session must not
 *	  be what keeps it
 * @filter: which peers to show
 * @id: the session
 * @index: next slot
 */
struct sb_dump {
	struct file *file;
	struct sb_filter *filter;
	u32 id;
	u32 index;
};

int sockbeat_nl_peer_get_start(struct netlink_callback *cb)
{
	struct sb_dump *dump = (struct sb_dump *)cb->ctx;
	struct nlattr **attrs = sb_dump_attrs(cb);
	struct sb_filter *filter;
	struct file *file;
	int err = 0;

	BUILD_BUG_ON(sizeof(*dump) > sizeof(cb->ctx));

	if (!sb_dump_may_run(cb))
		return -EBUSY;
	if (attrs[SOCKBEAT_A_SESSION_PEER]) {
		sb_extack(cb->extack, attrs[SOCKBEAT_A_SESSION_PEER],
			  "a dump takes no peer");
		return -EINVAL;
	}
	filter = kzalloc(sizeof(*filter), GFP_KERNEL);
	if (!filter)
		return -ENOMEM;
	filter->states = attrs[SOCKBEAT_A_SESSION_STATES] ?
			 nla_get_u32(attrs[SOCKBEAT_A_SESSION_STATES]) : U32_MAX;
	if (attrs[SOCKBEAT_A_SESSION_FILTER])
		err = sb_filter_parse(filter, attrs[SOCKBEAT_A_SESSION_FILTER], cb->extack);
	if (err)
		goto free;
	file = sb_session_file(cb->skb, cb->nlh, cb->extack);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto free;
	}
	dump->filter = filter;
	dump->id = sb_session_of(file)->id;
	dump->index = 0;
	if (attrs[SOCKBEAT_A_SESSION_FD])
		dump->file = file;
	else
		fput(file);
	return 0;

free:
	kfree(filter);
	return err;
}

int sockbeat_nl_peer_get_done(struct netlink_callback *cb)
{
	struct sb_dump *dump = (struct sb_dump *)cb->ctx;

	if (dump->file)
		fput(dump->file);
	kfree(dump->filter);
	return 0;
}

/* Show a stretch of the table; false when the message is full. */
static bool sb_dump_chunk(struct sk_buff *skb, struct netlink_callback *cb,
			  struct sb_session *session, struct sb_dump *dump)
{
	u32 end = min(session->fresh, dump->index + SB_BATCH_MAX);
	struct sb_peer *peer;
	void *header;

	for (; dump->index < end; dump->index++) {
		peer = session->slots[dump->index].peer;
		if (!peer)
			continue;
		sb_dump_refresh(peer);
		if (!sb_filter_fits(dump->filter, peer))
			continue;
		header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid,
				     cb->nlh->nlmsg_seq, &sb_family,
				     NLM_F_MULTI, SOCKBEAT_CMD_PEER_GET);
		if (!header || !sb_put_peer_msg(skb, header, peer))
			return false;
	}
	return true;
}

static void sb_dump_session(struct sk_buff *skb, struct netlink_callback *cb,
			    struct sb_session *session)
{
	struct sb_dump *dump = (struct sb_dump *)cb->ctx;
	bool more;

	do {
		cond_resched();
		spin_lock_bh(&session->lock);
		more = sb_dump_chunk(skb, cb, session, dump) &&
		       dump->index < session->fresh;
		sb_request_kick(session);
		spin_unlock_bh(&session->lock);
	} while (more);
}

/* A peer that lives throughout the dump is shown exactly once: it stays in
 * its slot.
 */
int sockbeat_nl_peer_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb)
{
	struct sb_dump *dump = (struct sb_dump *)cb->ctx;
	struct file *file;

	if (dump->file) {
		sb_dump_session(skb, cb, sb_session_of(dump->file));
		return skb->len;
	}
	file = sb_session_find(cb->skb, dump->id);
	if (!file)
		return 0;
	sb_dump_session(skb, cb, sb_session_of(file));
	fput(file);
	return skb->len;
}
