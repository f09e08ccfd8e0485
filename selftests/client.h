/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A plain netlink client for the tests of the module.  It knows the interface
 * from the uapi header alone and hides nothing: errors come with the kernel's
 * text and the offset of the attribute at fault.
 */
#ifndef SELFTESTS_CLIENT_H
#define SELFTESTS_CLIENT_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockbeat.h>
#include <linux/sockbeat_slots.h>

#define CLIENT_BUF	(256 * 1024)

struct event {
	uint32_t kind;
	uint32_t tcp_state;
	uint64_t handle;
	uint64_t user_data;
	uint64_t idle_ms;
	uint64_t late_ms;
	uint32_t action;
	uint32_t peers;
};

struct client {
	struct mnl_socket *nl;
	uint16_t family;
	uint32_t seq;
	char why[256];		/* the kernel's text for the last error */
	uint32_t bad_off;	/* where the attribute at fault lay, 0 for none */
	uint64_t min, max;	/* what it takes, where it is a number */
	char *tx;
	char *rx;
	char *early;		/* events that came before an answer */
	int early_len;
	struct event queue[65];	/* the rest of a message, for client_event() */
	int queued, taken;
};

/* Attributes of a peer, of an event or of a session, by type. */
struct attrs {
	bool has[64];
	uint64_t v[64];
	struct attrs *stats;
};

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static inline struct nlmsghdr *client_msg(struct client *c, uint16_t type,
					  uint8_t cmd, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(c->tx);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++c->seq;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = cmd;
	genl->version = 1;
	return nlh;
}

static inline struct nlmsghdr *client_cmd(struct client *c, uint8_t cmd)
{
	return client_msg(c, c->family, cmd, NLM_F_ACK);
}

static inline void client_range(struct client *c, const struct nlattr *policy)
{
	struct nlattr *attr;

	mnl_attr_for_each_nested(attr, policy) {
		if (mnl_attr_get_type(attr) == NL_POLICY_TYPE_ATTR_MIN_VALUE_U)
			c->min = mnl_attr_get_u64(attr);
		if (mnl_attr_get_type(attr) == NL_POLICY_TYPE_ATTR_MAX_VALUE_U)
			c->max = mnl_attr_get_u64(attr);
	}
}

static inline void client_error(struct client *c, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
	unsigned int len = sizeof(*err);
	struct nlattr *attr;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		len += err->msg.nlmsg_len - sizeof(struct nlmsghdr);
	mnl_attr_for_each(attr, nlh, len) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG)
			snprintf(c->why, sizeof(c->why), "%s", mnl_attr_get_str(attr));
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_OFFS)
			c->bad_off = mnl_attr_get_u32(attr);
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_POLICY)
			client_range(c, attr);
	}
}

/* Send a request and hand its replies to cb.  Returns 0 or a negative errno. */
static inline int client_talk(struct client *c, struct nlmsghdr *req,
			      void (*cb)(const struct nlmsghdr *, void *), void *arg)
{
	bool acked = req->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP);
	uint32_t seq = req->nlmsg_seq;
	struct nlmsghdr *nlh;
	int len;

	c->why[0] = '\0';
	c->bad_off = 0;
	c->min = 0;
	c->max = 0;
	if (mnl_socket_sendto(c->nl, req, req->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		len = mnl_socket_recvfrom(c->nl, c->rx, CLIENT_BUF);
		if (len < 0)
			return -errno;
		for (nlh = (void *)c->rx; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			/* Events may overtake the answer to a bind. */
			if (nlh->nlmsg_seq != seq) {
				if (c->early_len + NLMSG_ALIGN(nlh->nlmsg_len) > CLIENT_BUF)
					return -EPROTO;
				memcpy(c->early + c->early_len, nlh, nlh->nlmsg_len);
				c->early_len += NLMSG_ALIGN(nlh->nlmsg_len);
				continue;
			}
			if (nlh->nlmsg_type == NLMSG_ERROR) {
				client_error(c, nlh);
				return ((struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
			}
			if (nlh->nlmsg_type == NLMSG_DONE)
				return *(int *)mnl_nlmsg_get_payload(nlh);
			if (cb)
				cb(nlh, arg);
			/* Who asks for no acknowledgement has one answer. */
			if (!acked)
				return 0;
		}
	}
}

static inline void client_family_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct client *c = arg;
	struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
			c->family = mnl_attr_get_u16(attr);
}

static inline void client_close(struct client *c)
{
	if (c->nl)
		mnl_socket_close(c->nl);
	free(c->tx);
	free(c->rx);
	free(c->early);
	memset(c, 0, sizeof(*c));
}

static inline int client_open(struct client *c)
{
	struct nlmsghdr *nlh;
	int one = 1, err;

	memset(c, 0, sizeof(*c));
	c->tx = malloc(CLIENT_BUF);
	c->rx = malloc(CLIENT_BUF);
	c->early = malloc(CLIENT_BUF);
	c->nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!c->tx || !c->rx || !c->early || !c->nl || mnl_socket_bind(c->nl, 0, MNL_SOCKET_AUTOPID))
		return -errno;
	mnl_socket_setsockopt(c->nl, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(c->nl, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	nlh = client_msg(c, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, SOCKBEAT_FAMILY_NAME);
	err = client_talk(c, nlh, client_family_cb, c);
	return err ? err : c->family ? 0 : -ENOENT;
}

static inline void client_group_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *attr, *group, *member;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) != CTRL_ATTR_MCAST_GROUPS)
			continue;
		mnl_attr_for_each_nested(group, attr)
			mnl_attr_for_each_nested(member, group)
				if (mnl_attr_get_type(member) == CTRL_ATTR_MCAST_GRP_ID)
					*(int *)arg = mnl_attr_get_u32(member);
	}
}

/* Get what any session's receiver gets. */
static inline int client_monitor(struct client *c)
{
	struct nlmsghdr *nlh = client_msg(c, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
	int group = 0, err;

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, SOCKBEAT_FAMILY_NAME);
	err = client_talk(c, nlh, client_group_cb, &group);
	if (err || !group)
		return err ? err : -ENOENT;
	return mnl_socket_setsockopt(c->nl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) ?
	       -errno : 0;
}

static inline uint32_t client_port(struct client *c)
{
	return mnl_socket_get_portid(c->nl);
}

static inline int client_fd(struct client *c)
{
	return mnl_socket_get_fd(c->nl);
}

static inline void attrs_set(struct attrs *a, const struct nlattr *attr)
{
	unsigned int type = mnl_attr_get_type(attr);

	if (type >= 64)
		return;
	a->has[type] = true;
	if (mnl_attr_get_payload_len(attr) == 8)
		a->v[type] = mnl_attr_get_u64(attr);
	else if (mnl_attr_get_payload_len(attr) == 4)
		a->v[type] = mnl_attr_get_u32(attr);
}

static inline void attrs_nested(struct attrs *a, const struct nlattr *nest)
{
	struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
		attrs_set(a, attr);
}

/* Sessions. */

struct session_reply {
	struct attrs session;
	struct attrs stats;
};

static inline void client_session_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct session_reply *r = arg;
	struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == SOCKBEAT_A_SESSION_STATS)
			attrs_nested(&r->stats, attr);
		else
			attrs_set(&r->session, attr);
	}
}

/* Returns the session's fd or a negative errno. */
static inline int client_session_new(struct client *c, uint32_t capacity,
				     uint32_t timeout_ms, uint32_t renotify_ms,
				     enum sockbeat_trigger trigger,
				     struct session_reply *r)
{
	struct nlmsghdr *nlh = client_msg(c, c->family, SOCKBEAT_CMD_SESSION_NEW, 0);
	struct session_reply dummy;
	int err;

	if (!r)
		r = &dummy;
	memset(r, 0, sizeof(*r));
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_CAPACITY, capacity);
	if (timeout_ms)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_TIMEOUT_MS, timeout_ms);
	if (renotify_ms)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_RENOTIFY_MS, renotify_ms);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_TRIGGER, trigger);
	err = client_talk(c, nlh, client_session_cb, r);
	return err ? err : (int)r->session.v[SOCKBEAT_A_SESSION_FD];
}

static inline int client_session_get(struct client *c, int session,
				     struct session_reply *r)
{
	struct nlmsghdr *nlh = client_cmd(c, SOCKBEAT_CMD_SESSION_GET);

	memset(r, 0, sizeof(*r));
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	return client_talk(c, nlh, client_session_cb, r);
}

static inline uint64_t client_stat(struct client *c, int session, int type)
{
	struct session_reply r;

	return client_session_get(c, session, &r) ? UINT64_MAX : r.stats.v[type];
}

static inline int client_session_bind(struct client *c, int session)
{
	struct nlmsghdr *nlh = client_cmd(c, SOCKBEAT_CMD_SESSION_BIND);

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	return client_talk(c, nlh, NULL, NULL);
}

/* Peers. */

#define KEEP	UINT32_MAX	/* for settings that are not to be sent */

struct peer_conf {
	uint32_t timeout_ms;
	uint32_t source;
	uint32_t trigger;
	uint64_t user_data;
	uint32_t profile;	/* GIVE(id); 0 is not to be sent */
	uint32_t probe_after_ms;	/* likewise */
};

#define GIVE(value)	((value) + 1u)

#define CONF_KEEP	{ KEEP, KEEP, KEEP, 0 }

static inline void client_put_conf(struct nlmsghdr *nlh, const struct peer_conf *conf)
{
	if (!conf)
		return;
	if (conf->timeout_ms != KEEP)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_TIMEOUT_MS, conf->timeout_ms);
	if (conf->source != KEEP)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_SOURCE, conf->source);
	if (conf->trigger != KEEP)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_TRIGGER, conf->trigger);
	if (conf->user_data)
		mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_USER_DATA, conf->user_data);
	if (conf->profile)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_PROFILE, conf->profile - 1);
	if (conf->probe_after_ms)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_PROBE_AFTER_MS, conf->probe_after_ms - 1);
}

struct handles {
	uint64_t *handle;
	int n;
};

static inline void client_handles_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct handles *h = arg;
	struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		struct attrs a = {};

		if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_PEER)
			continue;
		attrs_nested(&a, attr);
		h->handle[h->n++] = a.v[SOCKBEAT_A_PEER_HANDLE];
	}
}

/* One request for up to 256 sockets.  Returns 0 or a negative errno. */
static inline int client_add(struct client *c, int session, const int *fds, int n,
			     const struct peer_conf *conf, uint64_t *handles)
{
	/* An acknowledgement that is lost would hide what was added. */
	struct nlmsghdr *nlh = client_msg(c, c->family, SOCKBEAT_CMD_PEER_ADD, 0);
	struct handles h = { .handle = handles };
	struct nlattr *nest;
	int i, err;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	for (i = 0; i < n; i++) {
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_FD, fds[i]);
		client_put_conf(nlh, conf);
		mnl_attr_nest_end(nlh, nest);
	}
	err = client_talk(c, nlh, client_handles_cb, &h);
	return err ? err : h.n == n ? 0 : -EPROTO;
}

static inline int client_add1(struct client *c, int session, int fd,
			      const struct peer_conf *conf, uint64_t *handle)
{
	return client_add(c, session, &fd, 1, conf, handle);
}

struct recycle_conf {
	uint32_t delay_ms;
	uint32_t end;
	bool hold;
};

static inline void client_put_recycle(struct nlmsghdr *nlh, const struct recycle_conf *conf)
{
	if (!conf)
		return;
	if (conf->delay_ms != KEEP)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS, conf->delay_ms);
	if (conf->end)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_END, conf->end);
	if (conf->hold)
		mnl_attr_put(nlh, SOCKBEAT_A_PEER_HOLD, 0, NULL);
}

/* A batch of peers that are named by handle; either of the settings, or none. */
static inline int client_batch(struct client *c, int session, uint8_t cmd,
			       const uint64_t *handles, int n,
			       const struct peer_conf *conf,
			       const struct recycle_conf *recycle)
{
	struct nlmsghdr *nlh = client_cmd(c, cmd);
	struct nlattr *nest;
	int i;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	for (i = 0; i < n; i++) {
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
		mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, handles[i]);
		client_put_conf(nlh, conf);
		client_put_recycle(nlh, recycle);
		mnl_attr_nest_end(nlh, nest);
	}
	return client_talk(c, nlh, NULL, NULL);
}

static inline int client_handles(struct client *c, int session, uint8_t cmd,
				 const uint64_t *handles, int n,
				 const struct peer_conf *conf)
{
	return client_batch(c, session, cmd, handles, n, conf, NULL);
}

static inline int client_set(struct client *c, int session, uint64_t handle,
			     const struct peer_conf *conf)
{
	return client_handles(c, session, SOCKBEAT_CMD_PEER_SET, &handle, 1, conf);
}

/* One setting of a peer, or of the session where the handle is 0. */
static inline int client_setting(struct client *c, int session, uint64_t handle, uint16_t type,
				 uint32_t value)
{
	struct nlmsghdr *nlh = client_cmd(c, handle ? SOCKBEAT_CMD_PEER_SET :
						      SOCKBEAT_CMD_SESSION_SET);
	struct nlattr *nest;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	if (!handle) {
		mnl_attr_put_u32(nlh, type, value);
	} else {
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
		mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, handle);
		mnl_attr_put_u32(nlh, type, value);
		mnl_attr_nest_end(nlh, nest);
	}
	return client_talk(c, nlh, NULL, NULL);
}

static inline int client_del(struct client *c, int session, uint64_t handle)
{
	return client_handles(c, session, SOCKBEAT_CMD_PEER_DEL, &handle, 1, NULL);
}

static inline int client_retire(struct client *c, int session, uint8_t cmd,
				const uint64_t *handles, int n,
				const struct recycle_conf *conf)
{
	return client_batch(c, session, cmd, handles, n, NULL, conf);
}

static inline int client_recycle(struct client *c, int session, uint64_t handle,
				 uint32_t delay_ms)
{
	struct recycle_conf conf = { .delay_ms = delay_ms };

	return client_retire(c, session, SOCKBEAT_CMD_PEER_RECYCLE, &handle, 1, &conf);
}

static inline int client_extend(struct client *c, int session, uint64_t handle,
				uint32_t delay_ms)
{
	struct recycle_conf conf = { .delay_ms = delay_ms };

	return client_retire(c, session, SOCKBEAT_CMD_RECYCLE_EXTEND, &handle, 1, &conf);
}

struct peers {
	struct attrs *peer;
	int n;
	int max;
};

static inline void client_peers_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct peers *p = arg;
	struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_PEER)
			continue;
		if (p->n < p->max) {
			memset(&p->peer[p->n], 0, sizeof(p->peer[0]));
			attrs_nested(&p->peer[p->n], attr);
		}
		p->n++;
	}
}

static inline int client_get(struct client *c, int session, uint64_t handle,
			     struct attrs *peer)
{
	struct nlmsghdr *nlh = client_cmd(c, SOCKBEAT_CMD_PEER_GET);
	struct peers p = { .peer = peer, .max = 1 };
	struct nlattr *nest;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
	mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, handle);
	mnl_attr_nest_end(nlh, nest);
	return client_talk(c, nlh, client_peers_cb, &p);
}

/* Returns the number of peers (of which at most max are stored), or a
 * negative errno.  A states mask of 0 sends none.
 */
static inline int client_dump(struct client *c, int session, uint32_t states,
			      struct attrs *peers, int max)
{
	struct nlmsghdr *nlh = client_msg(c, c->family, SOCKBEAT_CMD_PEER_GET,
					  NLM_F_DUMP | NLM_F_ACK);
	struct peers p = { .peer = peers, .max = max };
	int err;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	if (states)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_STATES, states);
	err = client_talk(c, nlh, client_peers_cb, &p);
	return err ? err : p.n;
}

/* -1 where the peer cannot be had. */
static inline int client_state(struct client *c, int session, uint64_t handle)
{
	struct attrs peer;

	if (client_get(c, session, handle, &peer))
		return -1;
	return peer.v[SOCKBEAT_A_PEER_STATE];
}

/* Events. */

/* One message, waited for until the deadline.  Returns the number of events,
 * 0 when the deadline passed, or a negative errno.
 */
static inline int client_events(struct client *c, struct event *ev, int max,
				uint64_t deadline_ms)
{
	struct pollfd pfd = { .fd = client_fd(c), .events = POLLIN };
	const struct genlmsghdr *genl;
	struct nlmsghdr *nlh;
	struct nlattr *attr;
	int64_t left;
	int n = 0, len;

	left = deadline_ms - now_ms();
	if (c->early_len) {
		len = NLMSG_ALIGN(((struct nlmsghdr *)c->early)->nlmsg_len);
		memcpy(c->rx, c->early, len);
		c->early_len -= len;
		memmove(c->early, c->early + len, c->early_len);
	} else if (poll(&pfd, 1, left > 0 ? left : 0) <= 0) {
		return 0;
	} else {
		len = mnl_socket_recvfrom(c->nl, c->rx, CLIENT_BUF);
	}
	if (len < 0)
		return -errno;
	for (nlh = (void *)c->rx; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		genl = mnl_nlmsg_get_payload(nlh);
		if (nlh->nlmsg_type != c->family || genl->cmd != SOCKBEAT_CMD_PEER_EVENT)
			return -EPROTO;
		mnl_attr_for_each(attr, nlh, sizeof(*genl)) {
			struct attrs a = {};

			if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_EVENT || n == max)
				continue;
			attrs_nested(&a, attr);
			ev[n].kind = a.v[SOCKBEAT_A_EVENT_KIND];
			ev[n].tcp_state = a.v[SOCKBEAT_A_EVENT_TCP_STATE];
			ev[n].handle = a.v[SOCKBEAT_A_EVENT_HANDLE];
			ev[n].user_data = a.v[SOCKBEAT_A_EVENT_USER_DATA];
			ev[n].idle_ms = a.v[SOCKBEAT_A_EVENT_IDLE_MS];
			ev[n].late_ms = a.v[SOCKBEAT_A_EVENT_LATE_MS];
			ev[n].action = a.v[SOCKBEAT_A_EVENT_ACTION];
			ev[n].peers = a.v[SOCKBEAT_A_EVENT_PEERS];
			n++;
		}
	}
	return n;
}

/* Wait for the next event of any peer; false when none came in time. */
static inline bool client_event(struct client *c, struct event *ev, uint64_t wait_ms)
{
	if (c->taken == c->queued) {
		c->taken = 0;
		c->queued = client_events(c, c->queue, 65, now_ms() + wait_ms);
		if (c->queued <= 0) {
			c->queued = 0;
			return false;
		}
	}
	*ev = c->queue[c->taken++];
	return true;
}

#endif /* SELFTESTS_CLIENT_H */
