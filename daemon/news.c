// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the session says of its peers: who fell silent and may have to go, whose
 * slot is free or held, and whether the guard keeps them all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "log.h"
#include "reactor.h"

#define NEWS_PER_TURN	512

static const char *tcp_state_name(uint32_t state)
{
	static const char *const names[] = {
		"UNKNOWN", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",
		"TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING",
	};

	return names[state < sizeof(names) / sizeof(names[0]) ? state : 0];
}

static void log_peer(const struct reactor *r, const struct conn *c, const char *what,
		     const struct sockbeat_event *event)
{
	union address peer = { .sa.sa_family = AF_UNSPEC };
	char text[ADDRESS_CHARS] = "unknown";
	socklen_t len = sizeof(peer);

	if (!getpeername(c->fd, &peer.sa, &len))
		address_format(&peer, text);
	log_info("%s peer=%s idle_ms=%" PRIu64 " late_ms=%" PRIu64 " timeout_ms=%u tcp=%s",
		 what, text, event->idle_ms, event->late_ms, r->config->timeout_ms,
		 tcp_state_name(event->tcp_state));
}

/* Whether a client that we do not read from has sent what we would read next. */
static bool is_kept_waiting(const struct conn *c)
{
	return reactor_unread_bytes(c) || (c->in && c->in->end > c->in->need);
}

/* Whether a client has ended its side, which no count of bytes tells. */
static bool has_ended(const struct conn *c)
{
	struct pollfd pfd = { .fd = c->fd, .events = POLLRDHUP };

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLRDHUP);
}

/* Say of a client that it was heard. Where the session counts nothing but TCP's
 * payload it is made to count both, and goes on to: nobody says so but this
 * function, and any payload of later is the newer of the two. Where only heartbeats
 * count they will be read, and nobody but us acts until then.
 */
static void vouch_for(struct reactor *r, struct conn *c)
{
	struct sockbeat_peer peer = {
		.handle = c->handle,
		.mask = SOCKBEAT_PEER_SOURCE,
		.source = SOCKBEAT_SOURCE_EITHER,
	};

	if (r->config->source == SOCKBEAT_SOURCE_BEAT)
		return;
	sockbeat_beat(r->sb, c->handle);
	/* Also has the session look, so that it does not act meanwhile. */
	if (sockbeat_set(r->sb, &peer, 1) != 1)
		log_error("set reactor=%u error=\"%s\"", r->index, sockbeat_strerror(r->sb));
}

/* A client that is stalled cannot be heard: once its window is full, or its side has
 * ended, there is no payload either, however long our work for it takes.
 */
static bool stalled_waits(struct reactor *r, struct conn *c)
{
	if (!is_kept_waiting(c) && !has_ended(c))
		return false;
	vouch_for(r, c);
	return true;
}

/* Nor can who has ended its side, as long as we work for it, or is not read from since
 * a bad frame. Once it has only to take the answers, it has to.
 */
static bool ended_waits(struct reactor *r, struct conn *c)
{
	if (!c->has_job || !(has_ended(c) || (c->at_end && is_kept_waiting(c))))
		return false;
	vouch_for(r, c);
	return true;
}

/* Who was not read from until just now, and could not send, has had no time to do so
 * since.
 */
static bool resumed_waits(struct reactor *r, struct conn *c)
{
	if (!c->was_stalled)
		return false;
	c->was_stalled = false;
	if ((uint32_t)reactor_now_ms() - c->stall_ms > r->config->timeout_ms)
		return false;
	vouch_for(r, c);
	return true;
}

static bool is_live(struct reactor *r, const struct conn *c)
{
	struct sockbeat_info info;

	return !sockbeat_get(r->sb, c->handle, &info) && info.state == SOCKBEAT_STATE_LIVE;
}

/* Whether what a client sent lay here for the better part of its silence, which this
 * process may have been stopped for. The news is no younger than that.
 */
static bool was_just_read(const struct conn *c, const struct sockbeat_event *event)
{
	return (uint32_t)reactor_now_ms() - c->read_ms < event->idle_ms / 2;
}

/* Of whom something lies here unread, or did until just now: once its window was full
 * there was no payload either, and it may have had no time to send more.
 */
static bool unread_waits(struct reactor *r, struct conn *c, const struct sockbeat_event *event)
{
	if (r->config->source == SOCKBEAT_SOURCE_BEAT || c->is_paused ||
	    (!was_just_read(c, event) && !is_kept_waiting(c)))
		return false;
	vouch_for(r, c);
	return true;
}

/* What was not read when the client was found silent must not cost it its connection,
 * nor what it could not send: this process may have been stalled.
 */
static bool heartbeat_waits(struct reactor *r, struct conn *c,
			    const struct sockbeat_event *event)
{
	enum conn_state state;

	/* What a client sent while we would not read is no silence. */
	if (c->is_stalled)
		return stalled_waits(r, c);
	if (ended_waits(r, c))
		return true;
	/* Its heartbeats are not read any more, or not yet; the drain has an end of its
	 * own.
	 */
	if (r->draining)
		return r->config->source == SOCKBEAT_SOURCE_BEAT ||
		       (c->owes_read && !c->out && stalled_waits(r, c));
	if (resumed_waits(r, c) || unread_waits(r, c, event))
		return true;
	if (r->config->source == SOCKBEAT_SOURCE_ACTIVITY || c->is_paused)
		return false;
	state = reactor_read_arrived(r, c);
	if (state == CONN_CLOSED)
		return true;
	if (state == CONN_MORE)
		reactor_come_back(r, c);
	if (c->is_stalled)
		return stalled_waits(r, c);
	/* Only since just now, so what is left unread is for the next time. */
	return c->is_paused;
}

/* Of events of one kind: the oldest, and how many more there are. */
struct slot_news {
	const struct sockbeat_event *oldest;
	int others;
};

static void add_news(struct slot_news *news, const struct sockbeat_event *event)
{
	news->others += !!news->oldest;
	if (!news->oldest || event->late_ms > news->oldest->late_ms)
		news->oldest = event;
}

/* Slots whose quarantine is over, or would be if nobody held them. One line for
 * all of a kind, however many there are.
 */
static void slot_events(struct reactor *r, const struct sockbeat_event *events, int n)
{
	struct slot_news held = { 0 }, released = { 0 };
	bool is_free = false;

	for (int i = 0; i < n; i++) {
		bool was_held;

		if (events[i].kind != SOCKBEAT_EVENT_KIND_RECYCLED)
			continue;
		was_held = reactor_note_held(r, events[i].handle, events[i].refs);
		if (events[i].refs) {
			add_news(&held, &events[i]);
			r->counters.held_slots++;
			continue;
		}
		is_free = true;
		if (was_held)
			add_news(&released, &events[i]);
	}
	if (held.oldest)
		log_warning("held reactor=%u slot=%u refs=%u age_ms=%" PRIu64 " others=%d", r->index,
			    sockbeat_index(held.oldest->handle), held.oldest->refs,
			    held.oldest->late_ms, held.others);
	if (released.oldest)
		log_info("released reactor=%u slot=%u age_ms=%" PRIu64 " others=%d", r->index,
			 sockbeat_index(released.oldest->handle), released.oldest->late_ms,
			 released.others);
	if (is_free)
		listener_resume(r);
}

static bool is_retired(struct reactor *r, uint64_t handle)
{
	struct sockbeat_info info;
	int err = sockbeat_get(r->sb, handle, &info);

	return err == -ENOENT || (!err && info.state == SOCKBEAT_STATE_RECYCLING);
}

/* A peer that is tracked though its connection was closed: in this turn, or
 * what was to put it into quarantine failed.
 */
static void retire_again(struct reactor *r, const struct sockbeat_event *event)
{
	for (unsigned int i = 0; i < r->n_retired; i++) {
		if (r->retired.handle[i] == event->handle)
			return;
	}
	/* In this turn too, before so many others that the batch went. */
	if (is_retired(r, event->handle))
		return;
	if (sockbeat_recycle(r->sb, &event->handle, 1, SOCKBEAT_DEFAULT_DELAY,
			     SOCKBEAT_END_NONE) != 1)
		log_error("recycle reactor=%u error=\"%s\"", r->index, sockbeat_strerror(r->sb));
}

/* The first says that no silent client is closed, the second that it goes on. */
static void guard_event(const struct reactor *r, const struct sockbeat_event *event)
{
	bool begins = event->kind == SOCKBEAT_EVENT_KIND_GUARD;

	log_warning("guard reactor=%u state=%s silent=%u", r->index, begins ? "on" : "over",
		    event->peers);
}

static void peer_event(struct reactor *r, struct conn *c, const struct sockbeat_event *event)
{
	switch (event->kind) {
	case SOCKBEAT_EVENT_KIND_SUSPECT:
		log_peer(r, c, "suspect", event);
		break;
	case SOCKBEAT_EVENT_KIND_SILENT:
		/* Where there is a guard the session ends them, when it may. */
		if (heartbeat_waits(r, c, event) || r->config->guard_percent)
			break;
		/* It may have been heard since: the news may have lain here for long. */
		if (is_live(r, c))
			break;
		log_peer(r, c, "silent", event);
		reactor_close(r, c, CLOSE_SILENT);
		break;
	case SOCKBEAT_EVENT_KIND_GONE:
		if (event->action)
			log_peer(r, c, "silent", event);
		reactor_close(r, c, event->action ? CLOSE_SILENT : reactor_lost_cause(r, c));
		break;
	default:
		break;
	}
}

/**
 * news_take - act on what the session says of peers, a bounded number at a time
 * @r: the reactor; its @session_more says whether there is more
 */
void news_take(struct reactor *r)
{
	struct sockbeat_event events[NEWS_PER_TURN];
	int n = sockbeat_events(r->sb, events, NEWS_PER_TURN);

	/* The library may hold more than its descriptor shows. */
	r->session_more = n == NEWS_PER_TURN;
	if (n < 0)
		log_error("session reactor=%u error=\"%s\"", r->index, sockbeat_strerror(r->sb));
	slot_events(r, events, n);
	for (int i = 0; i < n; i++) {
		struct conn *c;

		if (!events[i].handle) {
			guard_event(r, &events[i]);
			continue;
		}
		c = reactor_find(r, events[i].handle);
		if (events[i].kind == SOCKBEAT_EVENT_KIND_RECYCLED) {
			/* Who retired it was not us, and its slot is free, or will be. */
			if (c)
				reactor_close(r, c, CLOSE_RETIRED);
			continue;
		}
		if (!c) {
			retire_again(r, &events[i]);
			continue;
		}
		peer_event(r, c, &events[i]);
	}
}
