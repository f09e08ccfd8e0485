// SPDX-License-Identifier: BSD-3-Clause
/*
 * The part of the library that both engines share: choice of the engine,
 * checks of arguments, texts.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define DEFAULT_CAPACITY	65536

/**
 * sb_fail - note why a call fails
 * @sb: the session
 * @err: negative errno
 * @format: text, without the errno's own unless it says so
 *
 * The first failure of a call is the one that is kept.
 *
 * Return: @err.
 */
int sb_fail(struct sockbeat *sb, int err, const char *format, ...)
{
	va_list args;

	if (sb->error[0])
		return err;
	va_start(args, format);
	vsnprintf(sb->error, sizeof(sb->error), format, args);
	va_end(args);
	return err;
}

/**
 * sb_fail_peer - note why an entry of a batch fails
 * @sb: the session
 * @what: the request's name
 * @i: the entry's number in what the engine was given
 * @peer: the entry, named by its fd in peer-add and by its handle elsewhere;
 *	  its @error is set
 * @why: text
 */
void sb_fail_peer(struct sockbeat *sb, const char *what, size_t i,
		  const struct sockbeat_peer *peer, const char *why)
{
	i += sb->first;
	if (!strcmp(what, "peer-add"))
		sb_fail(sb, peer->error, "%s: entry %zu: fd %d: %s", what, i, peer->fd, why);
	else
		sb_fail(sb, peer->error, "%s: entry %zu: handle %#" PRIx64 ": %s", what, i,
			peer->handle, why);
}

static struct sockbeat *session_alloc(void)
{
	struct sockbeat *sb = calloc(1, sizeof(*sb));

	if (sb) {
		sb->event_fd = -1;
		sb->session_fd = -1;
		sb_refs_init(&sb->refs);
	}
	return sb;
}

static int open_engine(struct sockbeat *sb, const struct sb_engine *engine,
		       const struct sockbeat_opts *opts)
{
	int err = engine->open(sb, opts);

	if (err)
		return err;
	sb->engine = engine;
	return sb_refs_open(sb);
}

static int open_auto(struct sockbeat *sb, const struct sockbeat_opts *opts)
{
	int err = open_engine(sb, &sb_engine_kernel, opts);

	if (sb->engine) {
		snprintf(sb->reason, sizeof(sb->reason), "the sockbeat module answers");
		return err;
	}
	memcpy(sb->reason, sb->error, sizeof(sb->reason));
	sb->error[0] = '\0';
	return open_engine(sb, &sb_engine_builtin, opts);
}

/**
 * sockbeat_open - make a session
 * @sbp: set to the session, to be closed even after a failure; NULL where
 *	 there was no memory for it
 * @opts: how, or NULL for all defaults
 *
 * Return: 0 or a negative errno.
 */
int sockbeat_open(struct sockbeat **sbp, const struct sockbeat_opts *opts)
{
	struct sockbeat_opts o = { 0 };
	struct sockbeat *sb;
	int err;

	*sbp = sb = session_alloc();
	if (!sb)
		return -ENOMEM;
	if (opts)
		o = *opts;
	if (!o.capacity)
		o.capacity = DEFAULT_CAPACITY;
	err = sb_check_opts(sb, &o);
	if (err)
		return err;
	sb->check_positions = o.check_positions;
	if (o.engine == SOCKBEAT_ENGINE_AUTO)
		return open_auto(sb, &o);
	snprintf(sb->reason, sizeof(sb->reason), "the caller asked for it");
	return open_engine(sb, o.engine == SOCKBEAT_ENGINE_KERNEL ? &sb_engine_kernel :
								    &sb_engine_builtin, &o);
}

/**
 * sockbeat_adopt - take over a session of the kernel engine
 * @sbp: as for sockbeat_open()
 * @session_fd: its descriptor, from another process or an earlier program; the
 *		session's from now on, the caller's still after a failure
 *
 * Events that wait in the kernel go to the caller from now on. References that
 * the predecessor's workers still have are not known here: it has to wait for
 * them first, or their slots are given out when their quarantine is over.
 *
 * Return: 0 or a negative errno.
 */
int sockbeat_adopt(struct sockbeat **sbp, int session_fd)
{
	struct sockbeat *sb;
	int err;

	*sbp = sb = session_alloc();
	if (!sb)
		return -ENOMEM;
	err = sb_engine_kernel.adopt(sb, session_fd);
	if (err)
		return err;
	sb->engine = &sb_engine_kernel;
	snprintf(sb->reason, sizeof(sb->reason), "the session was adopted");
	err = sb_refs_open(sb);
	if (!err)
		err = sb_refs_adopt(sb);
	if (!err)
		return 0;
	/* The descriptor is the caller's again. */
	sb->session_fd = -1;
	return err;
}

/**
 * sockbeat_close - end a session
 * @sb: the session, or NULL
 *
 * All its peers are let go, unless other processes hold the session too.
 */
void sockbeat_close(struct sockbeat *sb)
{
	if (!sb)
		return;
	sb_refs_close(&sb->refs);
	sb_offload_close(sb);
	if (sb->engine)
		sb->engine->close(sb);
	free(sb);
}

/**
 * sockbeat_strerror - why the last call failed
 * @sb: the session, or NULL where there was no memory for it
 *
 * Return: a text that is valid until the next call.
 */
const char *sockbeat_strerror(const struct sockbeat *sb)
{
	if (!sb)
		return "no memory";
	return sb->error[0] ? sb->error : "no error";
}

/**
 * sockbeat_engine - which engine a session is on
 * @sb: the session
 *
 * Return: SOCKBEAT_ENGINE_KERNEL or SOCKBEAT_ENGINE_BUILTIN, or
 * SOCKBEAT_ENGINE_AUTO for a session that could not be opened.
 */
enum sockbeat_engine sockbeat_engine(const struct sockbeat *sb)
{
	return sb->engine ? sb->engine->kind : SOCKBEAT_ENGINE_AUTO;
}

/**
 * sockbeat_engine_reason - why it is that engine
 * @sb: the session
 *
 * Return: a text for logs.
 */
const char *sockbeat_engine_reason(const struct sockbeat *sb)
{
	return sb->reason;
}

/**
 * sockbeat_fd - what to wait for
 * @sb: the session
 *
 * Return: a descriptor that is readable when sockbeat_events() is to be
 * called.
 */
int sockbeat_fd(const struct sockbeat *sb)
{
	return sb->refs.poll_fd;
}

/**
 * sockbeat_session_fd - what to hand to a successor
 * @sb: the session
 *
 * Return: the descriptor that sockbeat_adopt() takes, or -1 where the engine
 * has none.
 */
int sockbeat_session_fd(const struct sockbeat *sb)
{
	return sb->session_fd;
}

/**
 * sockbeat_capacity - slots of a session
 * @sb: the session
 *
 * Return: the number; every handle's index is below it.
 */
uint32_t sockbeat_capacity(const struct sockbeat *sb)
{
	return sb->capacity;
}

/**
 * sockbeat_free_slots - slots that could be given out now
 * @sb: the session
 *
 * Makes no system call: peers that another process added are not known.
 *
 * Return: the number.
 */
uint32_t sockbeat_free_slots(const struct sockbeat *sb)
{
	return sb->refs.used < sb->capacity ? sb->capacity - sb->refs.used : 0;
}

static int count_done(const struct sockbeat_peer *peers, size_t n)
{
	const struct sockbeat_peer *peer;
	int done = 0;

	for (peer = peers; peer < peers + n; peer++)
		done += !peer->error;
	return done;
}

/* What the last call left to say is void. */
void sb_begin_call(struct sockbeat *sb)
{
	sb->error[0] = '\0';
	sb->first = 0;
}

/* The next of @n handles as entries; how many that are. */
static size_t fill_chunk(struct sockbeat_peer *peers, const uint64_t *handles, size_t n)
{
	size_t i, m = n < SB_CHUNK ? n : SB_CHUNK;

	for (i = 0; i < m; i++)
		peers[i] = (struct sockbeat_peer){ .handle = handles[i] };
	return m;
}

/**
 * sockbeat_add - track sockets
 * @sb: the session
 * @peers: the batch; @fd, @user_data and what @mask says are read, @handle
 *	   and @error are set
 * @n: its length
 *
 * Return: the number of peers that are tracked now, or a negative errno where
 * the call failed as a whole.
 */
int sockbeat_add(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	int err;

	sb_begin_call(sb);
	sb_check_peers(sb, "peer-add", peers, n);
	err = sb->engine->add(sb, peers, n);
	if (err)
		return err;
	for (size_t i = 0; i < n; i++) {
		if (!peers[i].error)
			sb_refs_add(sb, peers[i].handle);
	}
	return count_done(peers, n);
}

/**
 * sockbeat_set - change peers
 * @sb: the session
 * @peers: the batch; @handle is read, what @mask says is stored, @error is set
 * @n: its length
 *
 * Return: the number of peers that were changed, or a negative errno where
 * the call failed as a whole.
 */
int sockbeat_set(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n)
{
	int err;

	sb_begin_call(sb);
	sb_check_peers(sb, "peer-set", peers, n);
	err = sb->engine->set(sb, peers, n);
	return err ? err : count_done(peers, n);
}

/**
 * sockbeat_del - stop tracking peers
 * @sb: the session
 * @handles: which
 * @n: how many
 *
 * No event of a deleted peer is returned any more. The slot is free at once,
 * references on it or not: where there may be any use sockbeat_recycle().
 *
 * Return: the number of peers that were deleted, or a negative errno where the
 * call failed as a whole.
 */
int sockbeat_del(struct sockbeat *sb, const uint64_t *handles, size_t n)
{
	struct sockbeat_peer peers[SB_CHUNK];
	size_t i, m, done = 0;
	int err;

	sb_begin_call(sb);
	for (; n; n -= m, handles += m, sb->first += m) {
		m = fill_chunk(peers, handles, n);
		err = sb->engine->del(sb, peers, m);
		if (err)
			return done ? (int)done : err;
		for (i = 0; i < m; i++) {
			if (!peers[i].error)
				sb_refs_forget(sb, peers[i].handle);
		}
		done += count_done(peers, m);
	}
	return done;
}

/* Check a delay and fill in the session's. */
static int check_delay(struct sockbeat *sb, const char *what, uint32_t *delay_ms)
{
	if (*delay_ms == SOCKBEAT_DEFAULT_DELAY) {
		int err = sb->engine->refresh ? sb->engine->refresh(sb) : 0;

		if (err)
			return err;
		*delay_ms = sb->recycle_delay_ms;
	}
	return sb_check_range(sb, what, "delay_ms", *delay_ms, 0, SOCKBEAT_MAX_DELAY_MS);
}

/**
 * sockbeat_recycle - retire peers
 * @sb: the session
 * @handles: which: live, silent or gone ones
 * @n: how many
 * @delay_ms: time that their slots are kept from others, 0 ..
 *	      SOCKBEAT_MAX_DELAY_MS, or SOCKBEAT_DEFAULT_DELAY
 * @end: what to do to the sockets; the descriptors stay the caller's
 *
 * A peer is not tracked any more, and no reference on it can be taken. When its
 * delay is over and its last reference has gone its slot is free, and
 * SOCKBEAT_EVENT_KIND_RECYCLED says so. Without delay and references it is free
 * at once, without an event.
 *
 * Return: the number of peers that were recycled, or a negative errno where
 * the call failed as a whole.
 */
int sockbeat_recycle(struct sockbeat *sb, const uint64_t *handles, size_t n, uint32_t delay_ms,
		     enum sockbeat_end end)
{
	struct sb_retire how = { .delay_ms = delay_ms, .end = end };
	struct sockbeat_peer peers[SB_CHUNK];
	size_t m, done = 0;
	int err;

	sb_begin_call(sb);
	err = check_delay(sb, "peer-recycle", &how.delay_ms);
	if (!err)
		err = sb_check_range(sb, "peer-recycle", "end", end, 0, SOCKBEAT_END_ABORT);
#ifdef SOCKBEAT_TEST_UNSAFE
	how.delay_ms = 0;
#endif
	for (; !err && n; n -= m, handles += m, sb->first += m) {
		m = fill_chunk(peers, handles, n);
		err = sb_refs_recycle(sb, peers, m, &how);
		if (!err)
			done += count_done(peers, m);
	}
	return done ? (int)done : err;
}

/**
 * sockbeat_extend - make quarantines longer
 * @sb: the session
 * @handles: recycled peers whose end was not reported yet
 * @n: how many
 * @delay_ms: time from now on that they last at least, as for
 *	      sockbeat_recycle()
 *
 * Return: the number of peers whose quarantine lasts so long, or a negative
 * errno where the call failed as a whole.
 */
int sockbeat_extend(struct sockbeat *sb, const uint64_t *handles, size_t n, uint32_t delay_ms)
{
	struct sockbeat_peer peers[SB_CHUNK];
	size_t m, done = 0;
	int err;

	sb_begin_call(sb);
	err = check_delay(sb, "recycle-extend", &delay_ms);
	for (; !err && n; n -= m, handles += m, sb->first += m) {
		m = fill_chunk(peers, handles, n);
		err = sb->engine->extend(sb, peers, m, delay_ms);
		if (!err)
			done += count_done(peers, m);
	}
	return done ? (int)done : err;
}

/**
 * sockbeat_beat - note that a peer was heard now
 * @sb: the session
 * @handle: the peer; a stale one does nothing
 *
 * Counts for peers whose source is SOCKBEAT_SOURCE_BEAT or _EITHER.  Makes no
 * system call.
 */
void sockbeat_beat(struct sockbeat *sb, uint64_t handle)
{
	if (sb_refs_tracked(sb, handle))
		sb->engine->beat(sb, handle);
}

/**
 * sockbeat_events - take what happened
 * @sb: the session
 * @events: filled in
 * @max: its length, at least 1
 *
 * Return: the number of events, or a negative errno.
 */
int sockbeat_events(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	int n, got = sb->event_error;

	sb_begin_call(sb);
	if (max < 1)
		return sb_fail(sb, -EINVAL, "events: max %d is below 1", max);
	sb->event_error = 0;
	if (got)
		return sb_fail(sb, got, "peer-event: %s", strerror(-got));
	n = sb_refs_released(sb, events, max);
	/* What is taken out makes room: fewer than @max means that all is told. */
	while (n < max) {
		got = sb->engine->events(sb, events + n, max - n);
		if (got < 0 && n)
			sb->event_error = got;
		if (got < 0)
			return n ? n : got;
		if (got < max - n)
			return n + sb_refs_filter(sb, events + n, got);
		n += sb_refs_filter(sb, events + n, got);
	}
	return n;
}

/**
 * sockbeat_get_stats - read a session's counters
 * @sb: the session
 * @stats: filled in
 *
 * Return: 0 or a negative errno.
 */
int sockbeat_get_stats(struct sockbeat *sb, struct sockbeat_stats *stats)
{
	int err;

	sb_begin_call(sb);
	memset(stats, 0, sizeof(*stats));
	err = sb->engine->get_stats(sb, stats);
	if (!err)
		sb_refs_stats(sb, stats);
	return err;
}

/**
 * sockbeat_get - look at one peer
 * @sb: the session
 * @handle: which
 * @info: filled in
 *
 * Return: 0, -ENOENT for a stale handle, or another negative errno.
 */
int sockbeat_get(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info)
{
	sb_begin_call(sb);
	memset(info, 0, sizeof(*info));
	return sb->engine->get(sb, handle, info);
}

/**
 * sockbeat_list - look at all peers
 * @sb: the session
 * @states: mask of 1 << SOCKBEAT_STATE_*: which, 0 for all
 * @cb: called for each; may use the session; other than 0 ends the list
 * @arg: for @cb
 *
 * Return: 0, what @cb returned, or a negative errno.
 */
int sockbeat_list(struct sockbeat *sb, uint32_t states,
		  int (*cb)(const struct sockbeat_info *info, void *arg), void *arg)
{
	sb_begin_call(sb);
	return sb->engine->list(sb, states, cb, arg);
}
