// SPDX-License-Identifier: BSD-3-Clause
/*
 * The kernel engine's requests on peers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* The kernel takes 256; fewer are quicker to repeat without one that failed. */
#define BATCH_MAX	64

/**
 * struct batch - entries of one call
 * @cmd: what to do with them
 * @what: its name
 * @how: for those that retire peers
 * @base: first entry of the call
 */
struct batch {
	uint8_t cmd;
	const char *what;
	struct sb_retire how;
	const struct sockbeat_peer *base;
};

/**
 * struct answer - where the handles that peer-add answers go
 * @entries: the entries of the request
 * @n: how many
 * @i: the next
 */
struct answer {
	struct sockbeat_peer **entries;
	size_t n;
	size_t i;
};

static void put_conf(struct nlmsghdr *nlh, const struct sockbeat_peer *peer, bool is_new)
{
	if (is_new || (peer->mask & SOCKBEAT_PEER_USER_DATA))
		mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_USER_DATA, peer->user_data);
	if (peer->mask & SOCKBEAT_PEER_TIMEOUT)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_TIMEOUT_MS, peer->timeout_ms);
	if (peer->mask & SOCKBEAT_PEER_SOURCE)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_SOURCE, peer->source);
	if (peer->mask & SOCKBEAT_PEER_TRIGGER)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_TRIGGER, peer->trigger);
	if (peer->mask & SOCKBEAT_PEER_PROFILE)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_PROFILE, peer->profile);
	if (peer->mask & SOCKBEAT_PEER_RENOTIFY)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_RENOTIFY_MS, peer->renotify_ms);
	if (peer->mask & SOCKBEAT_PEER_ACTION)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_ACTION, peer->action);
	if (peer->mask & SOCKBEAT_PEER_ACT_AFTER)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_ACT_AFTER_MS, peer->act_after_ms);
	if (peer->mask & SOCKBEAT_PEER_SUSPECT)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_SUSPECT_PERCENT, peer->suspect_percent);
	if (peer->mask & SOCKBEAT_PEER_ADAPTIVE)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_ADAPTIVE_BEATS, peer->adaptive_beats);
	if (peer->mask & SOCKBEAT_PEER_PROBE)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_PROBE_AFTER_MS, peer->probe_after_ms);
}

static void put_entry(struct nlmsghdr *nlh, const struct sockbeat_peer *peer,
		      const struct batch *batch)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);

	if (batch->cmd == SOCKBEAT_CMD_PEER_ADD)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_FD, peer->fd);
	else
		mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, peer->handle);
	switch (batch->cmd) {
	case SOCKBEAT_CMD_PEER_ADD:
	case SOCKBEAT_CMD_PEER_SET:
		put_conf(nlh, peer, batch->cmd == SOCKBEAT_CMD_PEER_ADD);
		break;
	case SOCKBEAT_CMD_PEER_RECYCLE:
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS, batch->how.delay_ms);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_END, batch->how.end);
		if (peer->mask & SB_PEER_HOLD)
			mnl_attr_put(nlh, SOCKBEAT_A_PEER_HOLD, 0, NULL);
		break;
	case SOCKBEAT_CMD_RECYCLE_EXTEND:
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS, batch->how.delay_ms);
		break;
	}
	mnl_attr_nest_end(nlh, nest);
}

static int read_handles(const void *attrs, size_t len, void *arg)
{
	const struct nlattr *tb[SOCKBEAT_A_PEER_MAX + 1];
	const struct nlattr *attr = attrs;
	struct answer *answer = arg;
	int left = len;

	for (; mnl_attr_ok(attr, left); attr = mnl_attr_next(attr)) {
		left -= MNL_ALIGN(attr->nla_len);
		if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_PEER)
			continue;
		if (answer->i == answer->n ||
		    attrs_parse(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), tb,
				SOCKBEAT_A_PEER_MAX) ||
		    !tb[SOCKBEAT_A_PEER_HANDLE] ||
		    !attr_read(tb[SOCKBEAT_A_PEER_HANDLE], &answer->entries[answer->i++]->handle,
			       sizeof(uint64_t)))
			return -EBADMSG;
	}
	return 0;
}

/* Send one request.  *@bad is set to the entry that the kernel blames, @n for
 * none.
 */
static int send_batch(struct sockbeat *sb, const struct batch *batch,
		      struct sockbeat_peer **entries, size_t n, size_t *bad)
{
	struct kernel *k = sb->data;
	struct answer answer = { .entries = entries, .n = n };
	bool is_add = batch->cmd == SOCKBEAT_CMD_PEER_ADD;
	uint32_t begin, end[BATCH_MAX];
	struct nlmsghdr *nlh;
	size_t i;
	int err;

	nlh = kernel_request(sb, &k->requests, batch->cmd, is_add ? 0 : NLM_F_ACK);
	begin = nlh->nlmsg_len;
	for (i = 0; i < n; i++) {
		put_entry(nlh, entries[i], batch);
		end[i] = nlh->nlmsg_len;
	}
	err = channel_request(&k->requests, nlh, is_add ? read_handles : NULL, &answer);
	if (!err && is_add && answer.i != n) {
		snprintf(k->requests.text, sizeof(k->requests.text), "%zu handles for %zu peers",
			 answer.i, n);
		err = -EBADMSG;
	}
	*bad = n;
	if (err && k->requests.bad_offset >= begin) {
		for (i = 0; i < n && end[i] <= k->requests.bad_offset; i++)
			;
		*bad = i;
	}
	return err;
}

/* The kernel does all of a request or nothing.  Here each entry stands for
 * itself: the one that failed is left out and the rest tried again.  Where
 * none is named (a limit, a lack of memory) half of them may do.
 */
static void run_batch(struct sockbeat *sb, const struct batch *batch,
		      struct sockbeat_peer **entries, size_t n)
{
	struct kernel *k = sb->data;
	size_t bad;

	while (n) {
		int err = send_batch(sb, batch, entries, n, &bad);

		if (!err)
			return;
		if (bad == n && n > 1) {
			run_batch(sb, batch, entries, n / 2);
			entries += n / 2;
			n -= n / 2;
			continue;
		}
		bad = bad < n ? bad : 0;
		entries[bad]->error = err;
		sb_fail_peer(sb, batch->what, entries[bad] - batch->base,
			     entries[bad], k->requests.text);
		for (n--; bad < n; bad++)
			entries[bad] = entries[bad + 1];
	}
}

static int run_batches(struct sockbeat *sb, struct batch *batch, struct sockbeat_peer *peers,
		       size_t n)
{
	struct sockbeat_peer *entries[BATCH_MAX];
	size_t i, m = 0;

	batch->base = peers;
	for (i = 0; i < n; i++) {
		if (!peers[i].error)
			entries[m++] = &peers[i];
		if (m == BATCH_MAX || (m && i == n - 1)) {
			run_batch(sb, batch, entries, m);
			m = 0;
		}
	}
	return 0;
}

int kernel_add(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (peers[i].error || peers[i].fd >= 0)
			continue;
		peers[i].error = -EBADF;
		sb_fail_peer(sb, "peer-add", i, &peers[i], "fd is not open");
	}
	return run_batches(sb, &(struct batch){ .cmd = SOCKBEAT_CMD_PEER_ADD, .what = "peer-add" },
			   peers, n);
}

int kernel_set(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	return run_batches(sb, &(struct batch){ .cmd = SOCKBEAT_CMD_PEER_SET, .what = "peer-set" },
			   peers, n);
}

int kernel_del(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	return run_batches(sb, &(struct batch){ .cmd = SOCKBEAT_CMD_PEER_DEL, .what = "peer-del" },
			   peers, n);
}

int kernel_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		   const struct sb_retire *how)
{
	return run_batches(sb, &(struct batch){ .cmd = SOCKBEAT_CMD_PEER_RECYCLE,
						.what = "peer-recycle", .how = *how }, peers, n);
}

int kernel_extend(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n, uint32_t delay_ms)
{
	return run_batches(sb, &(struct batch){ .cmd = SOCKBEAT_CMD_RECYCLE_EXTEND,
						.what = "recycle-extend", .how.delay_ms = delay_ms },
			   peers, n);
}

/* Looking at peers. */

static int read_peer(const void *attrs, size_t len, struct sockbeat_info *info)
{
	const struct nlattr *session[SOCKBEAT_A_SESSION_MAX + 1], *tb[SOCKBEAT_A_PEER_MAX + 1];
	const struct nlattr *nest;
	uint32_t state = 0, source = 0, trigger = 0, action = 0;

	memset(info, 0, sizeof(*info));
	if (attrs_parse(attrs, len, session, SOCKBEAT_A_SESSION_MAX) ||
	    !session[SOCKBEAT_A_SESSION_PEER])
		return -EBADMSG;
	nest = session[SOCKBEAT_A_SESSION_PEER];
	if (attrs_parse(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), tb,
			SOCKBEAT_A_PEER_MAX) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_HANDLE], &info->handle, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_USER_DATA], &info->user_data, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_COOKIE], &info->cookie, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_IDLE_MS], &info->idle_ms, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_LEFT_MS], &info->left_ms, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_TIMEOUT_MS], &info->timeout_ms, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_TCP_STATE], &info->tcp_state, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_PROFILE], &info->profile, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_PROBE_AFTER_MS], &info->probe_after_ms,
		       sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_RX_BEHIND], &info->rx_behind, sizeof(int32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_TX_BEHIND], &info->tx_behind, sizeof(int32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_STATE], &state, sizeof(state)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_SOURCE], &source, sizeof(source)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_TRIGGER], &trigger, sizeof(trigger)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_ACTION], &action, sizeof(action)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_RENOTIFY_MS], &info->renotify_ms, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_ACT_AFTER_MS], &info->act_after_ms, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_SUSPECT_PERCENT], &info->suspect_percent,
		       sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_ADAPTIVE_BEATS], &info->adaptive_beats,
		       sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_LIMIT_MS], &info->limit_ms, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_INTERVAL_MS], &info->interval_ms, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_PEER_DEVIATION_MS], &info->deviation_ms, sizeof(uint32_t)))
		return -EBADMSG;
	info->suspect = tb[SOCKBEAT_A_PEER_SUSPECT];
	info->action = action;
	info->state = state;
	info->source = source;
	info->trigger = trigger;
	return 0;
}

static int read_one(const void *attrs, size_t len, void *arg)
{
	return read_peer(attrs, len, arg);
}

int kernel_get(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info)
{
	struct sockbeat_peer peer = { .handle = handle };
	struct kernel *k = sb->data;
	struct nlmsghdr *nlh;
	int err;

	nlh = kernel_request(sb, &k->requests, SOCKBEAT_CMD_PEER_GET, NLM_F_ACK);
	put_entry(nlh, &peer, &(struct batch){ .cmd = SOCKBEAT_CMD_PEER_GET });
	err = channel_request(&k->requests, nlh, read_one, info);
	if (err) {
		peer.error = err;
		sb_fail_peer(sb, "peer-get", 0, &peer, k->requests.text);
	}
	return err;
}

/**
 * struct listing - a list that is under way
 * @cb: whom to tell
 * @arg: for @cb
 * @ret: what it returned
 */
struct listing {
	int (*cb)(const struct sockbeat_info *info, void *arg);
	void *arg;
	int ret;
};

static int list_one(const void *attrs, size_t len, void *arg)
{
	struct listing *listing = arg;
	struct sockbeat_info info;
	int err = read_peer(attrs, len, &info);

	if (err)
		return err;
	listing->ret = listing->cb(&info, listing->arg);
	return listing->ret ? -ECANCELED : 0;
}

/* On a socket of its own: it may be left half-way, and the callback may make
 * requests meanwhile.
 */
int kernel_list(struct sockbeat *sb, uint32_t states,
		int (*cb)(const struct sockbeat_info *info, void *arg), void *arg)
{
	struct listing listing = { .cb = cb, .arg = arg };
	struct channel *ch = calloc(1, sizeof(*ch));
	struct nlmsghdr *nlh;
	int err;

	if (!ch)
		return sb_fail(sb, -ENOMEM, "peer-get: no memory");
	err = channel_open(ch, 0);
	if (!err) {
		nlh = kernel_request(sb, ch, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP);
		if (states)
			mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_STATES, states);
		err = channel_request(ch, nlh, list_one, &listing);
	}
	if (listing.ret)
		err = listing.ret;
	else if (err)
		kernel_fail(sb, "peer-get", ch, err);
	channel_close(ch);
	free(ch);
	return err;
}
