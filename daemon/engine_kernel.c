// SPDX-License-Identifier: BSD-3-Clause
/*
 * The kernel engine: the sockbeat module, spoken to as uapi/sockbeat.yaml
 * describes.
 *
 * Requests and events have a socket each, so that an event never stands
 * between a request and its answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/genetlink.h>

#include "kernel.h"

/**
 * kernel_fail - note why a request fails
 * @sb: the session
 * @what: the request's name
 * @ch: the channel that it went over
 * @err: negative errno
 *
 * Return: @err.
 */
int kernel_fail(struct sockbeat *sb, const char *what, const struct channel *ch, int err)
{
	return sb_fail(sb, err, "%s: %s", what, ch->text);
}

/**
 * kernel_request - begin a request on a session
 * @sb: the session
 * @ch: the channel that it is for
 * @cmd: what is wanted
 * @flags: as for channel_begin()
 *
 * Return: the request, for attributes to be added.
 */
struct nlmsghdr *kernel_request(struct sockbeat *sb, struct channel *ch, uint8_t cmd,
				uint16_t flags)
{
	struct kernel *k = sb->data;
	struct nlmsghdr *nlh = channel_begin(ch, k->family, cmd, flags);

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, sb->session_fd);
	return nlh;
}

/**
 * struct session - what session-new and session-get answer
 * @fd: of the session
 * @id: of the session
 * @capacity: slots
 * @port: where its events go
 * @recycle_delay_ms: default quarantine
 * @clock_ms: the module's clock
 * @stats: counters
 */
struct session {
	int32_t fd;
	uint32_t id;
	uint32_t capacity;
	uint32_t port;
	uint32_t recycle_delay_ms;
	uint64_t clock_ms;
	struct sockbeat_stats stats;
};

#define U32(type, member) \
	{ SOCKBEAT_A_STATS_##type, 4, offsetof(struct sockbeat_stats, member) }
#define U64(type, member) \
	{ SOCKBEAT_A_STATS_##type, 8, offsetof(struct sockbeat_stats, member) }

static int read_stats(const struct nlattr *nest, struct sockbeat_stats *stats)
{
	static const struct {
		unsigned int type;
		unsigned int size;
		size_t offset;
	} counters[] = {
		U32(LIVE, live), U32(SILENT, silent), U32(GONE, gone), U64(ADDED, added),
		U64(DELETED, deleted), U64(SILENCES, silences), U64(RECOVERIES, recoveries),
		U64(SOCKETS_GONE, sockets_gone), U64(EVENTS, events), U64(MESSAGES, messages),
		U64(DEFERRALS, deferrals), U64(BAD_STAMPS, bad_stamps), U64(TICKS, ticks),
		U64(TICK_NS, tick_ns), U64(CHECKS, checks), U64(POSTPONED, postponed),
		U32(RECYCLING, recycling), U64(RECYCLES, recycles), U64(RECYCLED, recycled),
		U64(ANSWERED, answered), U64(PASS_DATA, pass_data),
		U64(PASS_PARTIAL, pass_partial), U64(PASS_POSITION, pass_position),
		U64(PASS_QUEUE, pass_queue), U64(PASS_OWNED, pass_owned),
		U64(PASS_MEMORY, pass_memory), U64(PASS_RATE, pass_rate),
		U64(PASS_STATE, pass_state), U64(PASS_FOREIGN, pass_foreign),
		U64(PROBES, probes), U64(PROBES_ANSWERED, probes_answered),
		U64(PROBES_SKIPPED, probes_skipped), U64(SUSPECTS, suspects),
		U64(SHUTDOWNS, shutdowns), U64(ABORTS, aborts),
		U64(ACTS_DEFERRED, acts_deferred), U64(ACTS_GUARDED, acts_guarded),
		U64(GUARDS, guards),
	};
	const struct nlattr *tb[SOCKBEAT_A_STATS_MAX + 1];
	unsigned int i;

	if (!nest)
		return 0;
	if (attrs_parse(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), tb,
			SOCKBEAT_A_STATS_MAX))
		return -EBADMSG;
	for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		if (!attr_read(tb[counters[i].type], (char *)stats + counters[i].offset,
			       counters[i].size))
			return -EBADMSG;
	}
	return 0;
}

#undef U32
#undef U64

static int read_session(const void *attrs, size_t len, void *arg)
{
	const struct nlattr *tb[SOCKBEAT_A_SESSION_MAX + 1];
	struct session *s = arg;

	if (attrs_parse(attrs, len, tb, SOCKBEAT_A_SESSION_MAX) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_FD], &s->fd, sizeof(s->fd)) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_ID], &s->id, sizeof(s->id)) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_CAPACITY], &s->capacity, sizeof(s->capacity)) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_PORT], &s->port, sizeof(s->port)) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS], &s->recycle_delay_ms,
		       sizeof(s->recycle_delay_ms)) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_CLOCK_MS], &s->clock_ms, sizeof(s->clock_ms)))
		return -EBADMSG;
	return read_stats(tb[SOCKBEAT_A_SESSION_STATS], &s->stats);
}

static int read_family(const void *attrs, size_t len, void *arg)
{
	const struct nlattr *tb[CTRL_ATTR_FAMILY_ID + 1];

	if (attrs_parse(attrs, len, tb, CTRL_ATTR_FAMILY_ID) || !tb[CTRL_ATTR_FAMILY_ID] ||
	    !attr_read(tb[CTRL_ATTR_FAMILY_ID], arg, sizeof(uint16_t)))
		return -EBADMSG;
	return 0;
}

static int resolve_family(struct sockbeat *sb)
{
	struct kernel *k = sb->data;
	int err = channel_resolve(&k->requests, SOCKBEAT_FAMILY_NAME, read_family, &k->family);

	if (err == -ENOENT)
		return sb_fail(sb, err, "module not loaded: no generic netlink family '%s'",
			       SOCKBEAT_FAMILY_NAME);
	return err ? kernel_fail(sb, "generic netlink", &k->requests, err) : 0;
}

/* 0 is the module's default, unless it is meant. */
static void put_meant(struct nlmsghdr *nlh, uint16_t type, uint32_t value, bool meant)
{
	if (value || meant)
		mnl_attr_put_u32(nlh, type, value);
}

static void put_given(struct nlmsghdr *nlh, uint16_t type, uint32_t value)
{
	put_meant(nlh, type, value, false);
}

static int session_new(struct sockbeat *sb, const struct sockbeat_opts *opts)
{
	struct kernel *k = sb->data;
	struct nlmsghdr *nlh = channel_begin(&k->requests, k->family, SOCKBEAT_CMD_SESSION_NEW, 0);
	struct session s = { .fd = -1 };
	int err;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_CAPACITY, opts->capacity);
	put_given(nlh, SOCKBEAT_A_SESSION_TIMEOUT_MS, opts->timeout_ms);
	put_given(nlh, SOCKBEAT_A_SESSION_RENOTIFY_MS, opts->renotify_ms);
	put_meant(nlh, SOCKBEAT_A_SESSION_ACTION, opts->action, opts->exact);
	put_meant(nlh, SOCKBEAT_A_SESSION_ACT_AFTER_MS, opts->act_after_ms, opts->exact);
	put_meant(nlh, SOCKBEAT_A_SESSION_SUSPECT_PERCENT, opts->suspect_percent, opts->exact);
	put_meant(nlh, SOCKBEAT_A_SESSION_ADAPTIVE_BEATS, opts->adaptive_beats, opts->exact);
	put_given(nlh, SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS, opts->adaptive_min_ms);
	put_meant(nlh, SOCKBEAT_A_SESSION_GUARD_PERCENT, opts->guard_percent, opts->exact);
	put_given(nlh, SOCKBEAT_A_SESSION_GUARD_WINDOW_MS, opts->guard_window_ms);
	if (opts->recycle_delay_ms)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS,
				 opts->recycle_delay_ms == SOCKBEAT_NO_DELAY ?
				 0 : opts->recycle_delay_ms);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_SOURCE, opts->source);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_TRIGGER, opts->trigger);
	err = channel_request(&k->requests, nlh, read_session, &s);
	if (!err && s.fd < 0)
		return sb_fail(sb, -EBADMSG, "session-new: answer without fd");
	if (err) {
		if (s.fd >= 0)
			close(s.fd);
		return kernel_fail(sb, "session-new", &k->requests, err);
	}
	sb->session_fd = s.fd;
	return 0;
}

static int session_get(struct sockbeat *sb, struct session *s)
{
	struct kernel *k = sb->data;
	struct nlmsghdr *nlh;
	int err;

	nlh = kernel_request(sb, &k->requests, SOCKBEAT_CMD_SESSION_GET, NLM_F_ACK);
	err = channel_request(&k->requests, nlh, read_session, s);
	return err ? kernel_fail(sb, "session-get", &k->requests, err) : 0;
}

/* No acknowledgement is asked for: events may come before it.  Where they go
 * is seen afterwards; only if that is not here, an error lies in the socket.
 */
static int session_bind(struct sockbeat *sb, struct session *s)
{
	struct kernel *k = sb->data;
	uint64_t before_ms, after_ms;
	int err;

	err = channel_send(&k->events,
			   kernel_request(sb, &k->events, SOCKBEAT_CMD_SESSION_BIND, 0));
	if (err)
		return kernel_fail(sb, "session-bind", &k->events, err);
	before_ms = sb_now_ms();
	err = session_get(sb, s);
	after_ms = sb_now_ms();
	if (err)
		return err;
	if (s->port != k->events.port) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)k->events.rx;

		err = channel_receive(&k->events);
		if (err >= 0 && mnl_nlmsg_ok(nlh, err) && nlh->nlmsg_type == NLMSG_ERROR)
			err = channel_read_error(&k->events, nlh);
		if (err >= 0 || err == -EAGAIN)
			return sb_fail(sb, -EBUSY, "session-bind: another process took the events");
		return kernel_fail(sb, "session-bind", &k->events, err);
	}
	/* The same clock, unless we are in a time namespace.  There, a stamp
	 * may be too old by the time of a request, but never in the future.
	 */
	if (s->clock_ms < before_ms || s->clock_ms > after_ms)
		k->clock_offset_ms = (int64_t)(s->clock_ms - after_ms) - 1;
	return 0;
}

/* As long as the capacity; it takes memory where it is used. */
static int map_slots(struct sockbeat *sb)
{
	struct kernel *k = sb->data;
	size_t page = sysconf(_SC_PAGESIZE);
	void *map;

	k->slots_bytes = (sb->capacity * sizeof(*k->slots) + page - 1) / page * page;
	map = mmap(NULL, k->slots_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, sb->session_fd, 0);
	if (map == MAP_FAILED)
		return sb_fail(sb, -errno, "session-new: mmap of %zu bytes: %s", k->slots_bytes,
			       strerror(errno));
	k->slots = map;
	return 0;
}

static void let_go(struct sockbeat *sb)
{
	struct kernel *k = sb->data;

	if (k->slots)
		munmap(k->slots, k->slots_bytes);
	channel_close(&k->requests);
	channel_close(&k->events);
	free(k);
	sb->data = NULL;
}

static void kernel_close(struct sockbeat *sb)
{
	let_go(sb);
	if (sb->session_fd >= 0)
		close(sb->session_fd);
}

/* What comes before there is a session ... */
static int begin(struct sockbeat *sb)
{
	struct kernel *k = calloc(1, sizeof(*k));
	int err;

	if (!k) {
		sb_fail(sb, -ENOMEM, "no memory");
		return -ENOMEM;
	}
	sb->data = k;
	err = channel_open(&k->requests, 0);
	if (err)
		return kernel_fail(sb, "generic netlink", &k->requests, err);
	err = channel_open(&k->events, SOCK_NONBLOCK);
	if (err)
		return kernel_fail(sb, "generic netlink", &k->events, err);
	return resolve_family(sb);
}

/* ... and after. */
static int finish(struct sockbeat *sb)
{
	struct kernel *k = sb->data;
	struct session s = { 0 };
	int err;

	err = session_bind(sb, &s);
	if (err)
		return err;
	if (!s.capacity || s.capacity > SOCKBEAT_MAX_CAPACITY)
		return sb_fail(sb, -EBADMSG, "session-get: capacity %u is not within 1..%u",
			       s.capacity, SOCKBEAT_MAX_CAPACITY);
	k->id = s.id;
	sb->capacity = s.capacity;
	sb->recycle_delay_ms = s.recycle_delay_ms;
	sb->event_fd = mnl_socket_get_fd(k->events.nl);
	return map_slots(sb);
}

static int kernel_open(struct sockbeat *sb, const struct sockbeat_opts *opts)
{
	int err = begin(sb);

	if (!err)
		err = session_new(sb, opts);
	if (!err)
		err = finish(sb);
	if (!err)
		return 0;
	if (sb->session_fd >= 0)
		close(sb->session_fd);
	sb->session_fd = -1;
	sb->event_fd = -1;
	if (sb->data)
		let_go(sb);
	return err;
}

static int kernel_adopt(struct sockbeat *sb, int session_fd)
{
	int err;

	if (session_fd < 0)
		return sb_fail(sb, -EBADF, "session-bind: fd %d: fd is not open", session_fd);
	err = begin(sb);
	sb->session_fd = session_fd;
	if (!err)
		err = finish(sb);
	if (!err)
		return 0;
	sb->session_fd = -1;
	sb->event_fd = -1;
	if (sb->data)
		let_go(sb);
	return err;
}

static void kernel_beat(struct sockbeat *sb, uint64_t handle)
{
	struct kernel *k = sb->data;

	__atomic_store_n(&k->slots[sockbeat_index(handle)].beat_ms,
			 sb_now_ms() + k->clock_offset_ms, __ATOMIC_RELAXED);
}

/* Events. */

static int read_event(const struct nlattr *nest, struct sockbeat_event *event)
{
	const struct nlattr *tb[SOCKBEAT_A_EVENT_MAX + 1];
	uint32_t kind = 0, action = 0;

	memset(event, 0, sizeof(*event));
	if (attrs_parse(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), tb,
			SOCKBEAT_A_EVENT_MAX) ||
	    !tb[SOCKBEAT_A_EVENT_KIND] || !tb[SOCKBEAT_A_EVENT_HANDLE] ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_KIND], &kind, sizeof(kind)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_HANDLE], &event->handle, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_USER_DATA], &event->user_data, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_IDLE_MS], &event->idle_ms, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_LATE_MS], &event->late_ms, sizeof(uint64_t)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_TCP_STATE], &event->tcp_state, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_PEERS], &event->peers, sizeof(uint32_t)) ||
	    !attr_read(tb[SOCKBEAT_A_EVENT_ACTION], &action, sizeof(action)))
		return -EBADMSG;
	event->kind = kind;
	event->action = action;
	return 0;
}

/* Begin with the message at @k->message; other kinds of messages are empty. */
static int open_message(struct kernel *k)
{
	const struct nlattr *tb[SOCKBEAT_A_SESSION_ID + 1];
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(k->message);
	size_t len = mnl_nlmsg_get_payload_len(k->message);
	uint32_t id = 0;

	k->attr_left = 0;
	if (k->message->nlmsg_type != k->family)
		return 0;
	if (len < sizeof(*genl))
		return -EBADMSG;
	if (genl->cmd != SOCKBEAT_CMD_PEER_EVENT)
		return 0;
	k->attr = (const struct nlattr *)(genl + 1);
	len -= sizeof(*genl);
	if (attrs_parse(k->attr, len, tb, SOCKBEAT_A_SESSION_ID) ||
	    !attr_read(tb[SOCKBEAT_A_SESSION_ID], &id, sizeof(id)))
		return -EBADMSG;
	if (id == k->id)
		k->attr_left = len;
	return 0;
}

/* Find the next message in what was received, or receive more. */
static int next_message(struct kernel *k)
{
	int got;

	if (k->message_left > 0)
		k->message = mnl_nlmsg_next(k->message, &k->message_left);
	if (k->message_left <= 0) {
		got = channel_receive(&k->events);
		if (got < 0)
			return got;
		k->message = (const struct nlmsghdr *)k->events.rx;
		k->message_left = got;
	}
	if (mnl_nlmsg_ok(k->message, k->message_left))
		return open_message(k);
	k->message_left = 0;
	return -EBADMSG;
}

/* The next event: 1 and *@event, or 0 for something else, or an error. */
static int next_event(struct sockbeat *sb, struct sockbeat_event *event)
{
	struct kernel *k = sb->data;
	const struct nlattr *attr = k->attr;
	int err;

	if (!mnl_attr_ok(attr, k->attr_left))
		return next_message(k);
	k->attr = mnl_attr_next(attr);
	k->attr_left -= MNL_ALIGN(attr->nla_len);
	if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_EVENT)
		return 0;
	err = read_event(attr, event);
	if (err)
		return err;
	if (sockbeat_index(event->handle) >= sb->capacity)
		return -EBADMSG;
	/* A newer module may have kinds that we do not know. */
	return event->kind <= SOCKBEAT_EVENT_KIND_GUARD_OVER;
}

static int kernel_events(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	struct kernel *k = sb->data;
	int n = 0, err = k->event_error;

	k->event_error = 0;
	while (!err && n < max) {
		err = next_event(sb, &events[n]);
		if (err == 1) {
			n++;
			err = 0;
		}
	}
	if (!err || err == -EAGAIN)
		return n;
	if (n) {
		k->event_error = err;
		return n;
	}
	return sb_fail(sb, err, "peer-event: %s",
		       err == -EBADMSG ? "malformed message from the kernel" : k->events.text);
}

/* Others may have set it meanwhile, sockbeatctl for one. */
static int kernel_refresh(struct sockbeat *sb)
{
	struct session s = { 0 };
	int err = session_get(sb, &s);

	if (!err)
		sb->recycle_delay_ms = s.recycle_delay_ms;
	return err;
}

static int kernel_get_stats(struct sockbeat *sb, struct sockbeat_stats *stats)
{
	struct session s = { 0 };
	int err = session_get(sb, &s);

	*stats = s.stats;
	return err;
}

const struct sb_engine sb_engine_kernel = {
	.kind = SOCKBEAT_ENGINE_KERNEL,
	.open = kernel_open,
	.adopt = kernel_adopt,
	.close = kernel_close,
	.add = kernel_add,
	.set = kernel_set,
	.del = kernel_del,
	.recycle = kernel_recycle,
	.extend = kernel_extend,
	.profile = sb_offload_kernel_profile,
	.position = sb_offload_kernel_position,
	.beat = kernel_beat,
	.events = kernel_events,
	.refresh = kernel_refresh,
	.get_stats = kernel_get_stats,
	.get = kernel_get,
	.list = kernel_list,
};
