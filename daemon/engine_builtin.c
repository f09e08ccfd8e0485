// SPDX-License-Identifier: BSD-3-Clause
/*
 * The builtin engine: what the module does, in userspace, for a host that does
 * not have it.
 *
 * One difference to the module remains: that a socket has come to its end is
 * seen when its peer's bucket comes due, not at once.
 */
#include <errno.h>
#include <stdio.h>
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
#define DEFAULT_DELAY_MS	60000
#define DEFAULT_ADAPTIVE_MIN_MS	10000
#define DEFAULT_GUARD_WINDOW_MS	10000

/**
 * set_timer - have the descriptor readable when there is something to do
 * @b: the session
 */
void set_timer(struct builtin *b)
{
	struct itimerspec spec = { 0 };
	uint64_t tick = sb_wheel_next(&b->wheel);
	uint64_t when_ns = 0;

	/* What a tick left behind is for the next one. */
	if (tick <= b->wheel.now)
		tick = b->wheel.now + 1;
	if (b->ready_head != NO_PEER || b->guard.active != b->guard.told)
		when_ns = ARMED_NOW;
	else if (tick != SB_WHEEL_NEVER)
		when_ns = tick * TICK_MS * 1000000;
	if (b->guard.active && (!when_ns || b->guard_next_ms * 1000000 < when_ns))
		when_ns = b->guard_next_ms * 1000000;
	if (when_ns == b->armed_ns)
		return;
	b->armed_ns = when_ns;
	spec.it_value.tv_sec = when_ns / 1000000000;
	spec.it_value.tv_nsec = when_ns % 1000000000;
	timerfd_settime(b->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static const char *full_text(struct builtin *b)
{
	snprintf(b->text, sizeof(b->text),
		 "no free slot: %u live, %u silent, %u gone, %u in quarantine", b->stats.live,
		 b->stats.silent, b->stats.gone, b->stats.recycling);
	return b->text;
}

static void set_policy(struct policy *policy, const struct sockbeat_peer *entry)
{
	if (entry->mask & SOCKBEAT_PEER_TIMEOUT)
		policy->timeout_ms = entry->timeout_ms;
	if (entry->mask & SOCKBEAT_PEER_RENOTIFY)
		policy->renotify_ms = entry->renotify_ms;
	if (entry->mask & SOCKBEAT_PEER_ACT_AFTER)
		policy->act_after_ms = entry->act_after_ms;
	if (entry->mask & SOCKBEAT_PEER_SOURCE)
		policy->source = entry->source;
	if (entry->mask & SOCKBEAT_PEER_TRIGGER)
		policy->trigger = entry->trigger;
	if (entry->mask & SOCKBEAT_PEER_ACTION)
		policy->action = entry->action;
	if (entry->mask & SOCKBEAT_PEER_ADAPTIVE)
		policy->adaptive_beats = entry->adaptive_beats;
	if (entry->mask & SOCKBEAT_PEER_SUSPECT)
		policy->suspect_percent = entry->suspect_percent;
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
		*why = err == -ENOSPC ? full_text(b) : "no memory for a peer";
		return err;
	}
	peer->user_data = entry->user_data;
	/* Time before this moment is not held against the peer. */
	peer->heard_ms = now_ms + 1;
	peer->beat_ms = 0;
	peer->cookie = cookie;
	peer->fd = entry->fd;
	peer->looked = b->call - 1;
	peer->policy = b->policy;
	set_policy(&peer->policy, entry);
	peer->rhythm = (struct sb_adapt){ 0 };
	peer->state = SOCKBEAT_STATE_LIVE;
	peer->told = false;
	peer->suspect = false;
	peer->acted = SOCKBEAT_ACTION_NOTIFY;
	cookie_insert(b, peer);
	b->stats.live++;
	b->stats.added++;
	peer_arm_live(b, peer, now_ms);
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

/**
 * entry_peer - the peer that an entry names
 * @sb: the session
 * @what: the request's name
 * @entry: the entry; its @error is set
 * @i: its number
 * @states: mask of 1 << SOCKBEAT_STATE_*: which it may be in
 *
 * Return: the peer, or NULL.
 */
struct peer *entry_peer(struct sockbeat *sb, const char *what, struct sockbeat_peer *entry,
			size_t i, uint32_t states)
{
	struct peer *peer = slot_find(sb->data, entry->handle);
	const char *why;

	if (!peer) {
		entry->error = -ENOENT;
		why = "no peer has this handle";
	} else if (states & 1u << peer->state) {
		return peer;
	} else if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		entry->error = -EALREADY;
		why = "peer is in quarantine";
	} else {
		entry->error = -EINVAL;
		why = "peer is not in quarantine";
	}
	sb_fail_peer(sb, what, i, entry, why);
	return NULL;
}

static void change(struct builtin *b, struct peer *peer, const struct sockbeat_peer *entry)
{
	struct policy old = peer->policy;
	uint64_t now_ms = sb_now_ms();

	b->call++;
	/* What was heard by the old source counts, its rhythm does not. */
	if (has_socket(peer))
		peer_look(b, peer, now_ms);
	if (entry->mask & SOCKBEAT_PEER_USER_DATA)
		peer->user_data = entry->user_data;
	set_policy(&peer->policy, entry);

	if (has_socket(peer)) {
		peer->looked--;
		peer_look(b, peer, now_ms);
	}
	if (peer->policy.source != old.source || !old.adaptive_beats)
		peer->rhythm.samples = 0;
	if (peer->state == SOCKBEAT_STATE_LIVE)
		peer_arm_live(b, peer, now_ms);
	else if (peer->state == SOCKBEAT_STATE_SILENT && !peer_revive(b, peer, now_ms))
		peer_await(b, peer, peer->pending == TELL_NOTHING ?
				    peer_again_ms(b, peer, now_ms) : UINT64_MAX, now_ms);
}

static int builtin_set(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	struct builtin *b = sb->data;
	struct peer *peer;
	size_t i;

	for (i = 0; i < n; i++) {
		if (peers[i].error)
			continue;
		peer = entry_peer(sb, "peer-set", &peers[i], i, TRACKED);
		if (peer)
			change(b, peer, &peers[i]);
	}
	set_timer(b);
	return 0;
}

static int builtin_del(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	struct builtin *b = sb->data;
	struct peer *peer;
	size_t i;

	for (i = 0; i < n; i++) {
		peer = entry_peer(sb, "peer-del", &peers[i], i, UINT32_MAX);
		if (!peer)
			continue;
		peer_let_go(b, peer);
		/* The holder of a slot whose quarantine is over lets go of it. */
		if (peer->state == SOCKBEAT_STATE_RECYCLING && peer->told)
			b->stats.recycled++;
		else
			b->stats.deleted++;
		peer_leave(b, peer);
	}
	set_timer(b);
	return 0;
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

static void fill_event(const struct builtin *b, const struct peer *peer,
		       struct sockbeat_event *event, uint64_t now_ms)
{
	static const enum sockbeat_event_kind kinds[] = {
		[TELL_SILENT] = SOCKBEAT_EVENT_KIND_SILENT,
		[TELL_HEARD] = SOCKBEAT_EVENT_KIND_HEARD,
		[TELL_GONE] = SOCKBEAT_EVENT_KIND_GONE,
		[TELL_RECYCLED] = SOCKBEAT_EVENT_KIND_RECYCLED,
		[TELL_SUSPECT] = SOCKBEAT_EVENT_KIND_SUSPECT,
	};

	*event = (struct sockbeat_event){
		.kind = kinds[peer->pending],
		.handle = handle_of(peer),
		.user_data = peer->user_data,
	};
	if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		event->late_ms = now_ms > peer->recycle_end_ms ? now_ms - peer->recycle_end_ms : 0;
		return;
	}
	event->tcp_state = peer->tcp_state;
	event->idle_ms = idle_ms(peer, now_ms);
	event->late_ms = peer->pending == TELL_SILENT ? event->idle_ms - peer_limit_ms(b, peer) : 0;
	event->action = peer->acted;
}

/* The caller has it: when does this peer come up again? */
static void delivered(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	bool heard = peer->pending == TELL_HEARD;

	if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		recycle_told(b, peer, now_ms);
		return;
	}
	peer->told = peer->pending == TELL_SILENT || peer->pending == TELL_SUSPECT;
	ready_drop(b, peer);
	if (heard && peer->suspect)
		ready_push(b, peer, TELL_SUSPECT);
	if (peer->state == SOCKBEAT_STATE_SILENT ||
	    (peer->state == SOCKBEAT_STATE_GONE &&
	     peer->policy.trigger == SOCKBEAT_TRIGGER_LEVEL))
		peer_await(b, peer, peer_again_ms(b, peer, now_ms), now_ms);
}

/* Has a peer been heard that was to be reported? */
static bool is_over(struct builtin *b, struct peer *peer, uint64_t now_ms)
{
	if (peer->state != SOCKBEAT_STATE_SILENT && peer->pending != TELL_SUSPECT)
		return false;
	peer_look(b, peer, now_ms);
	if (peer->state == SOCKBEAT_STATE_SILENT)
		return peer_revive(b, peer, now_ms);
	return peer->pending == TELL_SUSPECT && peer_clear(b, peer, now_ms);
}

static int tell_guard(struct builtin *b, struct sockbeat_event *event)
{
	if (b->guard.active == b->guard.told)
		return 0;
	*event = (struct sockbeat_event){
		.kind = b->guard.active ? SOCKBEAT_EVENT_KIND_GUARD :
					  SOCKBEAT_EVENT_KIND_GUARD_OVER,
		.peers = b->stats.silent,
	};
	b->guard.told = b->guard.active;
	return 1;
}

static int builtin_events(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	struct builtin *b = sb->data;
	uint64_t now_ms = sb_now_ms();
	struct peer *peer;
	int n = 0;

	b->call++;
	tick(b, now_ms);
	act_guard(b, now_ms);
	if (max > 0)
		n = tell_guard(b, events);
	while (n < max && b->ready_head != NO_PEER) {
		peer = peer_at(b, b->ready_head);
		if (is_over(b, peer, now_ms) && peer->pending == TELL_NOTHING)
			continue;
		fill_event(b, peer, &events[n++], now_ms);
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

	b->call++;
	if (has_socket(peer))
		peer_look(b, peer, now_ms);
	if (peer->state == SOCKBEAT_STATE_SILENT)
		peer_revive(b, peer, now_ms);
	*info = (struct sockbeat_info){
		.handle = handle_of(peer),
		.user_data = peer->user_data,
		.state = peer->state,
	};
	if (peer->state == SOCKBEAT_STATE_RECYCLING) {
		info->left_ms = peer->recycle_end_ms > now_ms ? peer->recycle_end_ms - now_ms : 0;
		return;
	}
	info->idle_ms = idle_ms(peer, now_ms);
	info->timeout_ms = peer->policy.timeout_ms;
	info->source = peer->policy.source;
	info->trigger = peer->policy.trigger;
	info->renotify_ms = peer->policy.renotify_ms;
	info->action = peer->policy.action;
	info->act_after_ms = peer->policy.act_after_ms;
	info->suspect_percent = peer->policy.suspect_percent;
	info->adaptive_beats = peer->policy.adaptive_beats;
	info->limit_ms = peer_limit_ms(b, peer);
	if (peer->policy.adaptive_beats && peer->rhythm.samples > 1) {
		info->interval_ms = peer->rhythm.interval_ms;
		info->deviation_ms = peer->rhythm.deviation_ms;
	}
	info->suspect = peer->suspect;
	if (has_socket(peer)) {
		info->cookie = peer->cookie;
		info->tcp_state = peer->tcp_state;
	}
}

static int builtin_get(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info)
{
	struct builtin *b = sb->data;
	struct sockbeat_peer entry = { .handle = handle };
	struct peer *peer = entry_peer(sb, "peer-get", &entry, 0, UINT32_MAX);

	if (!peer)
		return entry.error;
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

static uint32_t or_default(uint32_t value, uint32_t value_default)
{
	return value ? value : value_default;
}

static void set_defaults(struct builtin *b, const struct sockbeat_opts *opts)
{
	b->policy = (struct policy){
		.timeout_ms = or_default(opts->timeout_ms, DEFAULT_TIMEOUT_MS),
		.renotify_ms = or_default(opts->renotify_ms, DEFAULT_RENOTIFY_MS),
		.act_after_ms = opts->act_after_ms,
		.source = opts->source,
		.trigger = opts->trigger,
		.action = opts->action,
		.adaptive_beats = opts->adaptive_beats,
		.suspect_percent = opts->suspect_percent,
	};
	b->adaptive_min_ms = or_default(opts->adaptive_min_ms, DEFAULT_ADAPTIVE_MIN_MS);
	b->guard.percent = opts->guard_percent;
	b->guard.window_ms = or_default(opts->guard_window_ms, DEFAULT_GUARD_WINDOW_MS);
	b->guard.grain_ms = 2 * TICK_MS;
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
	if (opts->recycle_delay_ms != SOCKBEAT_NO_DELAY)
		sb->recycle_delay_ms = opts->recycle_delay_ms ? opts->recycle_delay_ms :
								DEFAULT_DELAY_MS;
	set_defaults(b, opts);
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
	.recycle = builtin_recycle,
	.extend = builtin_extend,
	.beat = builtin_beat,
	.events = builtin_events,
	.get_stats = builtin_get_stats,
	.get = builtin_get,
	.list = builtin_list,
};
