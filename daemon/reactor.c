// SPDX-License-Identifier: BSD-3-Clause
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "reactor.h"

#define EVENTS_PER_TURN		512
#define SILENT_PER_TURN		512

/**
 * reactor_now_ms - the monotonic clock
 *
 * Return: milliseconds.
 */
uint64_t reactor_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* A connection's turn was cut short. Level-triggered epoll itself comes back to
 * what was not finished.
 */
static void come_back(struct reactor *r, struct conn *c)
{
	if (c->is_ready || r->config->epoll != CONFIG_EPOLL_EDGE)
		return;
	c->is_ready = true;
	TAILQ_INSERT_TAIL(&r->ready, c, ready);
}

/**
 * reactor_read - have a connection read what arrived, as far as its turn goes
 * @r: the reactor
 * @c: the connection, which may be gone afterwards
 */
void reactor_read(struct reactor *r, struct conn *c)
{
	if (conn_on_readable(r, c) == CONN_MORE)
		come_back(r, c);
}

/**
 * reactor_unread_bytes - what lies in a connection's socket
 * @c: the connection
 */
unsigned int reactor_unread_bytes(const struct conn *c)
{
	int unread = 0;

	return ioctl(c->fd, FIONREAD, &unread) ? 0 : unread;
}

/**
 * reactor_read_arrived - have a connection read what has arrived by now, however
 *			  many turns that takes
 * @r: the reactor
 * @c: the connection, of which no more is read than that and a turn: what comes
 *     meanwhile does not keep the others waiting
 *
 * Return: what is left of the connection.
 */
enum conn_state reactor_read_arrived(struct reactor *r, struct conn *c)
{
	uint64_t until_bytes = r->counters.bytes_in + reactor_unread_bytes(c);
	enum conn_state state;

	do
		state = conn_on_readable(r, c);
	while (state == CONN_MORE && r->counters.bytes_in < until_bytes);
	return state;
}

static int socket_error(int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

static void conn_event(struct reactor *r, struct conn *c, uint32_t events)
{
	if (r->draining) {
		drain_event(r, c, events);
		return;
	}
	/* Both directions are down, which only a reset does to an open socket. */
	if (events & (EPOLLERR | EPOLLHUP)) {
		reactor_close(r, c, conn_error_cause(socket_error(c->fd)));
		return;
	}
	if (events & (EPOLLRDHUP | EPOLLPRI))
		c->reads_on = true;
	if ((events & EPOLLOUT) && conn_on_writable(r, c) == CONN_CLOSED)
		return;
	if ((events & (EPOLLIN | EPOLLRDHUP)) && !c->is_ready)
		reactor_read(r, c);
}

/* One more turn for those that had not read all, behind the fresh events. */
static void run_ready(struct reactor *r)
{
	TAILQ_HEAD(, conn) turn = TAILQ_HEAD_INITIALIZER(turn);
	struct conn *c;

	TAILQ_CONCAT(&turn, &r->ready, ready);
	while ((c = TAILQ_FIRST(&turn))) {
		TAILQ_REMOVE(&turn, c, ready);
		c->is_ready = false;
		reactor_read(r, c);
	}
}

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

/* Say of a client that it was heard. Where the session counts nothing but TCP's
 * payload it is made to count both, and goes on to: nobody says so but this
 * function, and any payload of later is the newer of the two.
 */
static void vouch_for(struct reactor *r, struct conn *c)
{
	struct sockbeat_peer peer = {
		.handle = c->handle,
		.mask = SOCKBEAT_PEER_SOURCE,
		.source = SOCKBEAT_SOURCE_EITHER,
	};

	sockbeat_beat(r->sb, c->handle);
	/* Also has the session look, so that it does not act meanwhile. */
	if (sockbeat_set(r->sb, &peer, 1) != 1)
		log_error("set reactor=%u error=\"%s\"", r->index, sockbeat_strerror(r->sb));
}

/* A client that is stalled cannot be heard: once its window is full there is no
 * payload either, however long our work for it takes.
 */
static bool stalled_waits(struct reactor *r, struct conn *c)
{
	if (!is_kept_waiting(c))
		return false;
	/* Its heartbeats will be read; nobody but us acts until then. */
	if (r->config->source != SOCKBEAT_SOURCE_BEAT)
		vouch_for(r, c);
	return true;
}

static bool is_live(struct reactor *r, const struct conn *c)
{
	struct sockbeat_info info;

	return !sockbeat_get(r->sb, c->handle, &info) && info.state == SOCKBEAT_STATE_LIVE;
}

/* Where only heartbeats count, one that was not read when the client was found
 * silent must not cost it its connection: this process may have been stalled.
 */
static bool heartbeat_waits(struct reactor *r, struct conn *c)
{
	enum conn_state state;

	/* What a client sent while we would not read is no silence. */
	if (c->is_stalled)
		return stalled_waits(r, c);
	/* Its heartbeats are not read any more; the drain has an end of its own. */
	if (r->draining)
		return r->config->source == SOCKBEAT_SOURCE_BEAT;
	if (r->config->source == SOCKBEAT_SOURCE_ACTIVITY || c->is_paused)
		return false;
	state = reactor_read_arrived(r, c);
	if (state == CONN_CLOSED)
		return true;
	if (state == CONN_MORE)
		come_back(r, c);
	/* It may have been read ahead of this, in the same turn. */
	if (is_live(r, c))
		return true;
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
		if (heartbeat_waits(r, c) || r->config->guard_percent)
			break;
		log_peer(r, c, "silent", event);
		reactor_close(r, c, CLOSE_SILENT);
		break;
	case SOCKBEAT_EVENT_KIND_GONE:
		if (event->action)
			log_peer(r, c, "silent", event);
		reactor_close(r, c, event->action ? CLOSE_SILENT : CLOSE_RESET);
		break;
	default:
		break;
	}
}

/* What the session says of peers, a bounded number at a time. */
static void session_events(struct reactor *r)
{
	struct sockbeat_event events[SILENT_PER_TURN];
	int n = sockbeat_events(r->sb, events, SILENT_PER_TURN);

	/* The library may hold more than its descriptor shows. */
	r->session_more = n == SILENT_PER_TURN;
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

static void fill_snapshot(struct reactor *r)
{
	pthread_mutex_lock(&r->snapshot_lock);
	if (r->snapshot) {
		r->snapshot->counters = r->counters;
		r->snapshot->free_slots = sockbeat_free_slots(r->sb);
		if (sockbeat_get_stats(r->sb, &r->snapshot->session) < 0)
			log_error("stats reactor=%u error=\"%s\"", r->index,
				  sockbeat_strerror(r->sb));
		r->snapshot = NULL;
		pthread_cond_signal(&r->snapshot_done);
	}
	pthread_mutex_unlock(&r->snapshot_lock);
}

static void wake_event(struct reactor *r)
{
	uint64_t count;

	if (read(r->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_error("eventfd reactor=%u error=\"%s\"", r->index, strerror(errno));
	jobs_results(r);
	jobs_resume(r);
}

/* When there is something to do though nothing happens, or UINT64_MAX. */
static uint64_t next_ms(const struct reactor *r)
{
	uint64_t until_ms;

	if (r->draining)
		return r->drain_end_ms;
	until_ms = begun_due_ms(r);
	return r->accept_paused && r->accept_retry_ms < until_ms ? r->accept_retry_ms : until_ms;
}

/* How long epoll may wait. The clock is asked only when an end is set. */
static int wait_ms(struct reactor *r)
{
	uint64_t now_ms, until_ms;

	if (r->session_more || !TAILQ_EMPTY(&r->ready))
		return 0;
	until_ms = next_ms(r);
	if (until_ms == UINT64_MAX)
		return -1;
	now_ms = reactor_now_ms();
	return until_ms > now_ms ? until_ms - now_ms : 0;
}

static void dispatch(struct reactor *r, const struct epoll_event *events, int n, bool *session)
{
	for (int i = 0; i < n; i++) {
		uint64_t mark = events[i].data.u64;
		struct conn *c;

		if (mark > UINT32_MAX) {
			c = reactor_find(r, mark);
			if (c)
				conn_event(r, c, events[i].events);
		} else if (mark >= REACTOR_MARK_LISTEN) {
			r->listen_ready |= 1U << (mark - REACTOR_MARK_LISTEN);
		} else if (mark == REACTOR_MARK_SESSION) {
			*session = true;
		} else {
			wake_event(r);
		}
	}
}

/* A turn: what clients sent, then who fell silent (so that bytes which have
 * arrived are seen first), then who goes, then who comes.
 */
static bool run_turn(struct reactor *r)
{
	struct epoll_event events[EVENTS_PER_TURN];
	bool session = false;
	int n;

	n = epoll_wait(r->epoll_fd, events, EVENTS_PER_TURN, wait_ms(r));
	if (n < 0 && errno != EINTR) {
		log_error("epoll_wait reactor=%u error=\"%s\"", r->index, strerror(errno));
		abort();
	}
	dispatch(r, events, n, &session);
	run_ready(r);
	if (session || r->session_more)
		session_events(r);
	if (!r->draining)
		begun_check(r);
	reactor_retire(r);
	/* Between the turns all places are accounted for. */
	fill_snapshot(r);
	if (r->draining)
		return r->counters.connections && reactor_now_ms() < r->drain_end_ms;

	if (r->accept_paused && reactor_now_ms() >= r->accept_retry_ms)
		listener_resume(r);
	if (r->listen_ready)
		listener_accept(r);
	if (atomic_load_explicit(&r->shared->stop, memory_order_relaxed)) {
		drain_begin(r);
		reactor_retire(r);
		return r->counters.connections;
	}
	return true;
}

static void *run(void *arg)
{
	struct reactor *r = arg;

	while (run_turn(r))
		;
	reactor_each(r, drain_end);
	reactor_retire(r);
	return NULL;
}

/**
 * reactor_start - run a reactor in a thread of its own
 * @r: the reactor
 *
 * Return: 0 or a negative errno.
 */
int reactor_start(struct reactor *r)
{
	return -pthread_create(&r->thread, NULL, run, r);
}

/**
 * reactor_wake - have a reactor look at what it shares with others
 * @r: the reactor
 */
void reactor_wake(struct reactor *r)
{
	uint64_t one = 1;

	if (write(r->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("eventfd reactor=%u error=\"%s\"", r->index, strerror(errno));
}

/**
 * reactor_snapshot - copy a running reactor's counters
 * @r: the reactor
 * @snapshot: filled in
 *
 * The reactor itself makes the copy, so that counting takes no lock.
 */
void reactor_snapshot(struct reactor *r, struct reactor_snapshot *snapshot)
{
	memset(snapshot, 0, sizeof(*snapshot));
	pthread_mutex_lock(&r->snapshot_lock);
	r->snapshot = snapshot;
	reactor_wake(r);
	while (r->snapshot)
		pthread_cond_wait(&r->snapshot_done, &r->snapshot_lock);
	pthread_mutex_unlock(&r->snapshot_lock);
}

/**
 * reactor_join - wait for a reactor that was told to stop
 * @r: the reactor
 */
void reactor_join(struct reactor *r)
{
	pthread_join(r->thread, NULL);
}

static int open_listeners(struct reactor *r, struct config *config)
{
	for (uint32_t i = 0; i < config->n_listen; i++) {
		char text[ADDRESS_CHARS];
		int fd = listener_open(&config->listen[i]);

		address_format(&config->listen[i], text);
		if (fd < 0) {
			log_error("listen address=%s error=\"%s\"", text, strerror(-fd));
			return fd;
		}
		r->listen_fd[i] = fd;
		if (!r->index)
			log_info("listening address=%s", text);
	}
	return listener_watch(r, true);
}

static int set_profile(struct reactor *r)
{
	const char *name = config_word("profile", r->config->profile);
	struct sockbeat_profile profile = *sockbeat_profile_named(name);

	r->is_native = !strcmp(name, "native");
	r->is_offloading = r->config->offload == CONFIG_OFFLOAD_ON &&
			   sockbeat_engine(r->sb) == SOCKBEAT_ENGINE_KERNEL;
	if (r->config->probe_after_ms && !r->is_offloading && !r->index)
		log_warning("probe_after_ms is of no use: %s",
			    r->config->offload == CONFIG_OFFLOAD_OFF ? "offload is off" :
			    "the builtin engine sends no probes");
	if (r->config->probe_after_ms >= r->config->timeout_ms && !r->index)
		log_warning("probe_after_ms is of no use: timeout_ms is not longer");
	profile.min_interval_ms = r->config->min_heartbeat_interval_ms;
	return sockbeat_profile_set(r->sb, REACTOR_PROFILE, &profile);
}

static int open_session(struct reactor *r)
{
	const struct config *config = r->config;
	struct sockbeat_opts opts = {
		.engine = config->engine,
		.capacity = config->pool_slots,
		.timeout_ms = config->timeout_ms,
		.renotify_ms = config->renotify_ms,
		.source = config->source,
		/* One that is not closed for what it has sent and we have not
		 * read has to be told of again.
		 */
		.trigger = config->source == SOCKBEAT_SOURCE_ACTIVITY ? config->trigger :
									SOCKBEAT_TRIGGER_LEVEL,
		.recycle_delay_ms = config->recycle_delay_ms ? config->recycle_delay_ms :
							       SOCKBEAT_NO_DELAY,
		/* For when this process is stuck.  Its own stamps do not come
		 * then either, whoever lives.
		 */
		.action = config->source == SOCKBEAT_SOURCE_BEAT ? SOCKBEAT_ACTION_NOTIFY :
								   SOCKBEAT_ACTION_ABORT,
		.act_after_ms = config->act_after_ms,
		.suspect_percent = config->suspect_percent,
		.adaptive_beats = config->adaptive_beats,
		.adaptive_min_ms = config->adaptive_min_ms,
		.guard_percent = config->guard_percent,
		.guard_window_ms = config->guard_window_ms,
		.exact = true,
	};
	int err;

	err = sockbeat_open(&r->sb, &opts);
	if (!err)
		err = set_profile(r);
	if (err < 0) {
		log_error("session engine=%s error=\"%s\"", config_word("engine", config->engine),
			  r->sb ? sockbeat_strerror(r->sb) : strerror(-err));
		return err;
	}
	return conns_init(r);
}

static int watch_mark(struct reactor *r, int fd, uint64_t mark)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = mark };

	return epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_epoll(struct reactor *r)
{
	int err;

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->epoll_fd < 0 || r->wake_fd < 0)
		return -errno;
	err = watch_mark(r, r->wake_fd, REACTOR_MARK_WAKE);
	return err ? err : watch_mark(r, sockbeat_fd(r->sb), REACTOR_MARK_SESSION);
}

/**
 * reactor_create - make a reactor that does not run yet
 * @rp: set to it, or to NULL
 * @config: the settings, used as long as the reactor lives; reactor 0 replaces
 *	    listening ports of 0 by those that the kernel chose
 * @shared: what all reactors have in common
 * @index: number of this one
 *
 * What fails is logged.
 *
 * Return: 0 or a negative errno.
 */
int reactor_create(struct reactor **rp, struct config *config,
		   struct reactor_shared *shared, unsigned int index)
{
	struct reactor *r = calloc(1, sizeof(*r));
	int err;

	*rp = r;
	if (!r) {
		log_error("reactor reactor=%u error=\"out of memory\"", index);
		return -ENOMEM;
	}
	r->config = config;
	r->shared = shared;
	r->service = &sample_service;
	r->index = index;
	r->epoll_fd = -1;
	r->wake_fd = -1;
	for (int i = 0; i < CONFIG_MAX_LISTEN; i++)
		r->listen_fd[i] = -1;
	TAILQ_INIT(&r->ready);
	TAILQ_INIT(&r->stalled);
	TAILQ_INIT(&r->begun);
	STAILQ_INIT(&r->results);
	pthread_mutex_init(&r->results_lock, NULL);
	pthread_mutex_init(&r->snapshot_lock, NULL);
	pthread_cond_init(&r->snapshot_done, NULL);

	err = open_session(r);
	if (!err) {
		r->peers = calloc(config->accept_batch, sizeof(*r->peers));
		r->sources = calloc(config->accept_batch, sizeof(struct address_use *));
		err = r->peers && r->sources ? open_epoll(r) : -ENOMEM;
		if (err)
			log_error("reactor reactor=%u error=\"%s\"", index, strerror(-err));
	}
	if (!err)
		err = open_listeners(r, config);
	if (err) {
		reactor_destroy(r);
		*rp = NULL;
	}
	return err;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/**
 * reactor_destroy - free a reactor that does not run (any more)
 * @r: the reactor, or NULL
 */
void reactor_destroy(struct reactor *r)
{
	if (!r)
		return;
	for (int i = 0; i < CONFIG_MAX_LISTEN; i++)
		close_fd(r->listen_fd[i]);
	close_fd(r->epoll_fd);
	close_fd(r->wake_fd);
	if (r->sb)
		sockbeat_close(r->sb);
	conns_free(r);
	free(r->peers);
	free(r->sources);
	job_list_free(&r->results);
	pthread_mutex_destroy(&r->results_lock);
	pthread_cond_destroy(&r->snapshot_done);
	pthread_mutex_destroy(&r->snapshot_lock);
	free(r);
}
