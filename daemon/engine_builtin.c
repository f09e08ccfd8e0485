// SPDX-License-Identifier: BSD-3-Clause
/*
 * The builtin engine: what the module does, in userspace, for a host that does
 * not have it.
 *
 * One difference to the module remains: that a socket has come to its end is
 * seen when its peer's bucket comes due, not at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "builtin.h"

/* An absolute time that has always passed. */
#define ARMED_NOW		1

#define MAX_CHECKS_PER_TICK	16384
#define DEFAULT_TIMEOUT_MS	60000
#define DEFAULT_RENOTIFY_MS	5000

static void set_timer(struct builtin *b)
{
	struct itimerspec spec = { 0 };
	uint64_t tick = sb_wheel_next(&b->wheel);
	uint64_t when_ns = 0;

	/* What a tick left behind is for the next one. */
	if (tick <= b->wheel.now)
		tick = b->wheel.now + 1;
	if (b->ready_head != NO_PEER)
		when_ns = ARMED_NOW;
	else if (tick != SB_WHEEL_NEVER)
		when_ns = tick * TICK_MS * 1000000;
	if (when_ns == b->armed_ns)
		return;
	b->armed_ns = when_ns;
	spec.it_value.tv_sec = when_ns / 1000000000;
	spec.it_value.tv_nsec = when_ns % 1000000000;
	timerfd_settime(b->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static int enter(struct builtin *b, const struct sockbeat_peer *entry, uint64_t *handle,
		 const char **why)
{
	uint64_t cookie, now_ms = sb_now_ms();
	struct peer *peer;
	int err;

	err = peer_check_socket(entry->fd, &cookie, why);
	if (err)
		return err;
	if (cookie_known(b, cookie)) {
		*why = "socket is tracked already";
		return -EEXIST;
	}
	peer = slot_take(b, &err);
	if (!peer) {
		*why = err == -ENOSPC ? "no free slot in the session" : "no memory for a peer";
		return err;
	}
	peer->user_data = entry->user_data;
	/* Time before this moment is not held against the peer. */
	peer->heard_ms = now_ms + 1;
	peer->beat_ms = 0;
	peer->cookie = cookie;
	peer->fd = entry->fd;
	peer->looked = b->call - 1;
	peer->timeout_ms = entry->mask & SOCKBEAT_PEER_TIMEOUT ? entry->timeout_ms : b->timeout_ms;
	peer->source = entry->mask & SOCKBEAT_PEER_SOURCE ? entry->source : b->source;
	peer->trigger = entry->mask & SOCKBEAT_PEER_TRIGGER ? entry->trigger : b->trigger;
	peer->state = SOCKBEAT_STATE_LIVE;
	peer->told = false;
	cookie_insert(b, peer);
	b->stats.live++;
	b->stats.added++;
	peer_arm(b, peer, peer->heard_ms + peer->timeout_ms);
	*handle = handle_of(peer);
	return 0;
}

static int builtin_add(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	struct builtin *b = sb->data;
	const char *why;
	size_t i;

	for (i = 0; i < n; i++) {
		if (peers[i].error)
			continue;
		peers[i].error = enter(b, &peers[i], &peers[i].handle, &why);
		if (peers[i].error)
			sb_fail_peer(sb, "peer-add", i, &peers[i], why);
	}
	set_timer(b);
	return 0;
}

static int no_peer(struct sockbeat *sb, const char *what, size_t i, uint64_t handle)
{
	struct sockbeat_peer peer = { .handle = handle, .error = -ENOENT };

	sb_fail_peer(sb, what, i, &peer, "no peer has this handle");
	return peer.error;
}

static void change(struct builtin *b, struct peer *peer, const struct sockbeat_peer *entry)
{
	uint64_t now_ms = sb_now_ms();

	b->call++;
	/* What was heard by the old source counts. */
	if (peer->state != SOCKBEAT_STATE_GONE)
		peer_look(b, peer, now_ms);
	peer->user_data = entry->user_data;
	if (entry->mask & SOCKBEAT_PEER_TIMEOUT)
		peer->timeout_ms = entry->timeout_ms;
	if (entry->mask & SOCKBEAT_PEER_SOURCE)
		peer->source = entry->source;
	if (entry->mask & SOCKBEAT_PEER_TRIGGER)
		peer->trigger = entry->trigger;

	if (peer->state != SOCKBEAT_STATE_GONE) {
		peer->looked--;
		peer_look(b, peer, now_ms);
	}
	if (peer->state == SOCKBEAT_STATE_SILENT)
		peer_revive(b, peer, now_ms);
	else if (peer->state == SOCKBEAT_STATE_LIVE)
		peer_arm(b, peer, peer->heard_ms + peer->timeout_ms);
}

static int builtin_set(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	struct builtin *b = sb->data;
	struct peer *peer;
	size_t i;

	for (i = 0; i < n; i++) {
		if (peers[i].error)
			continue;
		peer = slot_find(b, peers[i].handle);
		if (peer)
			change(b, peer, &peers[i]);
		else
			peers[i].error = no_peer(sb, "peer-set", i, peers[i].handle);
	}
	set_timer(b);
	return 0;
}

static void leave(struct builtin *b, struct peer *peer)
{
	if (sb_wheel_armed(&peer->node))
		sb_wheel_del(&b->wheel, &peer->node);
	ready_drop(b, peer);
	switch (peer->state) {
	case SOCKBEAT_STATE_LIVE:
		b->stats.live--;
		break;
	case SOCKBEAT_STATE_SILENT:
		b->stats.silent--;
		break;
	case SOCKBEAT_STATE_GONE:
		b->stats.gone--;
		break;
	}
	if (peer->state != SOCKBEAT_STATE_GONE)
		cookie_remove(b, peer);
	b->stats.deleted++;
	slot_release(b, peer);
}

static int builtin_del(struct sockbeat *sb, const uint64_t *handles, size_t n)
{
	struct builtin *b = sb->data;
	struct peer *peer;
	int done = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		peer = slot_find(b, handles[i]);
		if (!peer) {
			no_peer(sb, "peer-del", i, handles[i]);
			continue;
		}
		leave(b, peer);
		done++;
	}
	set_timer(b);
	return done;
}

static void builtin_beat(struct sockbeat *sb, uint64_t handle)
{
	struct peer *peer = slot_find(sb->data, handle);

	/* The end of this millisecond: never early. */
	if (peer)
		peer->beat_ms = sb_now_ms() + 1;
}

/* One tick of the wheel, if one is due. */
static void tick(struct builtin *b, uint64_t now_ms)
{
	uint64_t now_tick = now_ms / TICK_MS;
	struct sb_wheel_node *node;
	uint64_t start_ns;
	unsigned int n;

	if (now_tick <= b->wheel.now || sb_wheel_next(&b->wheel) > now_tick)
		return;
	start_ns = sb_now_ns();
	sb_wheel_advance(&b->wheel, now_tick);
	for (n = 0; n < MAX_CHECKS_PER_TICK; n++) {
		node = sb_wheel_pop(&b->wheel);
		if (!node)
			break;
		peer_check(b, (struct peer *)((char *)node - offsetof(struct peer, node)), now_ms);
	}
	if (sb_wheel_next(&b->wheel) <= b->wheel.now)
		b->stats.postponed++;
	b->stats.checks += n;
	b->stats.ticks++;
	b->stats.tick_ns += sb_now_ns() - start_ns;
}

static void fill_event(const struct peer *peer, struct sockbeat_event *event, uint64_t now_ms)
{
	static const enum sockbeat_event_kind kinds[] = {
		[TELL_SILENT] = SOCKBEAT_EVENT_KIND_SILENT,
		[TELL_HEARD] = SOCKBEAT_EVENT_KIND_HEARD,
		[TELL_GONE] = SOCKBEAT_EVENT_KIND_GONE,
	};

	event->kind = kinds[peer->pending];
	event->tcp_state = peer->tcp_state;
	event->handle = handle_of(peer);
	event->user_data = peer->user_data;
	event->idle_ms = idle_ms(peer, now_ms);
	event->late_ms = peer->pending == TELL_SILENT ? event->idle_ms - peer->timeout_ms : 0;
}

/* The caller has it: when does this peer come up again? */
static void delivered(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	peer->told = peer->pending == TELL_SILENT;
	ready_drop(b, peer);
	if (peer->state == SOCKBEAT_STATE_LIVE)
		return;
	if (peer->trigger == SOCKBEAT_TRIGGER_LEVEL)
		peer_arm(b, peer, now_ms + b->renotify_ms);
	else if (peer->state == SOCKBEAT_STATE_SILENT)
		peer_arm(b, peer, now_ms + peer->timeout_ms);
}

static int builtin_events(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	struct builtin *b = sb->data;
	uint64_t now_ms = sb_now_ms();
	struct peer *peer;
	int n = 0;

	b->call++;
	tick(b, now_ms);
	while (n < max && b->ready_head != NO_PEER) {
		peer = peer_at(b, b->ready_head);
		if (peer->state == SOCKBEAT_STATE_SILENT)
			peer_look(b, peer, now_ms);
		if (peer->state == SOCKBEAT_STATE_SILENT && peer_revive(b, peer, now_ms) &&
		    peer->pending == TELL_NOTHING)
			continue;
		fill_event(peer, &events[n++], now_ms);
		delivered(b, peer, now_ms);
	}
	b->stats.events += n;
	b->stats.messages += n > 0;
	set_timer(b);
	return n;
}

static int builtin_get_stats(struct sockbeat *sb, struct sockbeat_stats *stats)
{
	const struct builtin *b = sb->data;

	*stats = b->stats;
	return 0;
}

static void fill_info(struct builtin *b, struct peer *peer, struct sockbeat_info *info)
{
	uint64_t now_ms = sb_now_ms();
	bool is_gone;

	b->call++;
	if (peer->state != SOCKBEAT_STATE_GONE)
		peer_look(b, peer, now_ms);
	if (peer->state == SOCKBEAT_STATE_SILENT)
		peer_revive(b, peer, now_ms);
	is_gone = peer->state == SOCKBEAT_STATE_GONE;
	*info = (struct sockbeat_info){
		.handle = handle_of(peer),
		.user_data = peer->user_data,
		.cookie = is_gone ? 0 : peer->cookie,
		.idle_ms = idle_ms(peer, now_ms),
		.timeout_ms = peer->timeout_ms,
		.state = peer->state,
		.source = peer->source,
		.trigger = peer->trigger,
		.tcp_state = is_gone ? 0 : peer->tcp_state,
	};
}

static int builtin_get(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info)
{
	struct builtin *b = sb->data;
	struct peer *peer = slot_find(b, handle);

	if (!peer)
		return no_peer(sb, "peer-get", 0, handle);
	fill_info(b, peer, info);
	set_timer(b);
	return 0;
}

static int builtin_list(struct sockbeat *sb, uint32_t states,
			int (*cb)(const struct sockbeat_info *info, void *arg), void *arg)
{
	struct builtin *b = sb->data;
	struct sockbeat_info info;
	uint32_t i;
	int ret = 0;

	for (i = 0; !ret && i < b->fresh; i++) {
		if (!peer_at(b, i)->used)
			continue;
		fill_info(b, peer_at(b, i), &info);
		if (!states || (states & 1u << info.state))
			ret = cb(&info, arg);
	}
	set_timer(b);
	return ret;
}

static void builtin_close(struct sockbeat *sb)
{
	struct builtin *b = sb->data;

	if (b->timer_fd >= 0)
		close(b->timer_fd);
	table_free(b);
	free(b);
}

static int builtin_open(struct sockbeat *sb, const struct sockbeat_opts *opts)
{
	struct builtin *b = calloc(1, sizeof(*b));
	struct timespec jiffy;
	int err;

	if (!b)
		return sb_fail(sb, -ENOMEM, "session-new: no memory");
	sb->data = b;
	sb->capacity = opts->capacity;
	b->timeout_ms = opts->timeout_ms ? opts->timeout_ms : DEFAULT_TIMEOUT_MS;
	b->renotify_ms = opts->renotify_ms ? opts->renotify_ms : DEFAULT_RENOTIFY_MS;
	b->source = opts->source;
	b->trigger = opts->trigger;
	sb_wheel_init(&b->wheel, sb_now_ms() / TICK_MS);
	/* The coarse clock moves by jiffies. */
	clock_getres(CLOCK_MONOTONIC_COARSE, &jiffy);
	b->jiffy_ms = (jiffy.tv_nsec + 999999) / 1000000;

	b->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	err = b->timer_fd < 0 ? -errno : 0;
	if (!err)
		err = table_init(b, opts->capacity);
	if (err) {
		builtin_close(sb);
		return sb_fail(sb, err, "session-new: capacity %u: %s", opts->capacity,
			       strerror(-err));
	}
	sb->event_fd = b->timer_fd;
	return 0;
}

const struct sb_engine sb_engine_builtin = {
	.kind = SOCKBEAT_ENGINE_BUILTIN,
	.open = builtin_open,
	.close = builtin_close,
	.add = builtin_add,
	.set = builtin_set,
	.del = builtin_del,
	.beat = builtin_beat,
	.events = builtin_events,
	.get_stats = builtin_get_stats,
	.get = builtin_get,
	.list = builtin_list,
};
