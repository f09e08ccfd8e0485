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

/**
 * reactor_come_back - note that a connection's turn was cut short
 * @r: the reactor
 * @c: the connection
 *
 * Level-triggered epoll itself comes back to what was not finished.
 */
void reactor_come_back(struct reactor *r, struct conn *c)
{
	if (r->config->epoll == CONFIG_EPOLL_EDGE)
		reactor_enter_ready(r, c);
}

/**
 * reactor_read - have a connection read what arrived, as far as its turn goes
 * @r: the reactor
 * @c: the connection, which may be gone afterwards
 */
void reactor_read(struct reactor *r, struct conn *c)
{
	if (conn_on_readable(r, c) == CONN_MORE)
		reactor_come_back(r, c);
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

/**
 * reactor_lost_cause - why a connection was lost that TCP has given up
 * @r: the reactor
 * @c: the connection; its error is taken from the socket
 */
enum close_cause reactor_lost_cause(const struct reactor *r, const struct conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (r->draining)
		return CLOSE_DRAIN;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return conn_error_cause(err);
}

static void conn_event(struct reactor *r, struct conn *c, uint32_t events)
{
	if (r->draining) {
		drain_event(r, c, events);
		return;
	}
	/* Both directions are down, which only a reset does to an open socket. */
	if (events & (EPOLLERR | EPOLLHUP)) {
		reactor_close(r, c, reactor_lost_cause(r, c));
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
		return drain_due_ms(r);
	until_ms = begun_due_ms(r);
	return r->accept_paused && r->accept_retry_ms < until_ms ? r->accept_retry_ms : until_ms;
}

/* How long epoll may wait. The clock is asked only when an end is set. */
static int wait_ms(struct reactor *r)
{
	uint64_t now_ms, until_ms;

	if (r->session_more || (!r->draining && !TAILQ_EMPTY(&r->ready)))
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
	if (r->draining)
		drain_turn(r);
	else
		run_ready(r);
	if (session || r->session_more)
		news_take(r);
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

static int set_profile(struct reactor *r)
{
	const char *name = config_word("profile", r->config->profile);
	struct sockbeat_profile profile = *sockbeat_profile_named(name);

	r->is_native = !strcmp(name, "native");
	r->is_offloading = r->config->offload == CONFIG_OFFLOAD_ON &&
			   sockbeat_engine(r->sb) == SOCKBEAT_ENGINE_KERNEL;
	/* A guard knows of a silence that was found late. */
	r->acts_alone = sockbeat_engine(r->sb) == SOCKBEAT_ENGINE_BUILTIN &&
			!r->config->guard_percent;
	profile.min_interval_ms = r->config->min_heartbeat_interval_ms;
	return sockbeat_profile_set(r->sb, REACTOR_PROFILE, &profile);
}

static void warn_of_probes(const struct reactor *r)
{
	if (r->config->probe_after_ms && !r->is_offloading)
		log_warning("probe_after_ms is of no use: %s",
			    r->config->offload == CONFIG_OFFLOAD_OFF ? "offload is off" :
			    "the builtin engine sends no probes");
	if (r->config->probe_after_ms >= r->config->timeout_ms)
		log_warning("probe_after_ms is of no use: timeout_ms is not longer");
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
 * reactor_create - make a reactor that has a session, and neither listens nor runs yet
 * @rp: set to it, or to NULL
 * @config: the settings, used as long as the reactor lives
 * @shared: what all reactors have in common
 * @index: number of this one
 *
 * What fails is logged.
 *
 * Return: 0 or a negative errno.
 */
int reactor_create(struct reactor **rp, const struct config *config,
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
	if (err) {
		reactor_destroy(r);
		*rp = NULL;
	}
	return err;
}

/**
 * reactor_listen - have a reactor listen, once its engine is settled
 * @r: the reactor, which does not run yet
 * @config: its settings; reactor 0 replaces listening ports of 0 by those that the
 *	    kernel chose
 *
 * What fails is logged.
 *
 * Return: 0 or a negative errno.
 */
int reactor_listen(struct reactor *r, struct config *config)
{
	int err;

	if (!r->index)
		warn_of_probes(r);
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
	err = listener_watch(r, true);
	if (err)
		log_error("listen reactor=%u error=\"%s\"", r->index, strerror(-err));
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
