// SPDX-License-Identifier: BSD-3-Clause
/*
 * A reactor's connections: a table by slot, how a connection begins and ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "reactor.h"

#define CHUNK_BITS		9
#define CHUNK_CONNS		(1U << CHUNK_BITS)

/**
 * conns_init - make an empty table
 * @r: the reactor, whose session is open
 *
 * Return: 0 or -ENOMEM.
 */
int conns_init(struct reactor *r)
{
	r->capacity = sockbeat_capacity(r->sb);
	r->chunks = calloc((r->capacity >> CHUNK_BITS) + 1, sizeof(struct conn *));
	return r->chunks ? 0 : -ENOMEM;
}

/**
 * conns_free - undo conns_init()
 * @r: the reactor
 */
void conns_free(struct reactor *r)
{
	for (uint32_t i = 0; r->chunks && i <= r->capacity >> CHUNK_BITS; i++)
		free(r->chunks[i]);
	free(r->chunks);
}

/* The place of a slot in the table, or NULL where none nearby was ever used. */
static struct conn *slot(struct reactor *r, uint32_t index)
{
	struct conn *chunk = index < r->capacity ? r->chunks[index >> CHUNK_BITS] : NULL;

	return chunk ? &chunk[index & (CHUNK_CONNS - 1)] : NULL;
}

/**
 * reactor_in_slot - the connection that has a slot now
 * @r: the reactor
 * @handle: of anyone who ever had it
 *
 * Return: the connection, or NULL.
 */
struct conn *reactor_in_slot(struct reactor *r, uint64_t handle)
{
	struct conn *c = slot(r, sockbeat_index(handle));

	return c && c->handle ? c : NULL;
}

/**
 * reactor_note_held - remember, or forget, that a worker holds a slot that would
 *		       be free otherwise
 * @r: the reactor
 * @handle: who had it last
 * @held: which
 *
 * Return: whether it was noted before.
 */
bool reactor_note_held(struct reactor *r, uint64_t handle, bool held)
{
	struct conn *c = slot(r, sockbeat_index(handle));
	bool was_held = c && c->was_held;

	if (c)
		c->was_held = held;
	return was_held;
}

/**
 * reactor_find - the connection that a handle names
 * @r: the reactor
 * @handle: its handle
 *
 * Return: the connection; NULL when that one is gone, whoever may have its slot
 * and its descriptor now.
 */
struct conn *reactor_find(struct reactor *r, uint64_t handle)
{
	struct conn *c = slot(r, sockbeat_index(handle));

	return c && c->handle == handle ? c : NULL;
}

/**
 * reactor_each - call a function for every connection
 * @r: the reactor
 * @fn: may close the connection
 */
void reactor_each(struct reactor *r, void (*fn)(struct reactor *r, struct conn *c))
{
	for (uint32_t i = 0; i <= (r->capacity - 1) >> CHUNK_BITS; i++) {
		for (uint32_t n = 0; r->chunks[i] && n < CHUNK_CONNS; n++) {
			if (r->chunks[i][n].handle)
				fn(r, &r->chunks[i][n]);
		}
	}
}

static uint32_t interest_of(const struct reactor *r, const struct conn *c)
{
	uint32_t events = 0;

	if (conn_is_read(c))
		events |= EPOLLIN | EPOLLRDHUP;
	if (c->out)
		events |= EPOLLOUT;
	if (r->config->epoll == CONFIG_EPOLL_EDGE && !c->is_lingering) {
		events |= EPOLLET;
		/* Else an urgent byte that nobody reads would be told for ever. */
		if (events & EPOLLIN)
			events |= EPOLLPRI;
	}
	return events;
}

/**
 * reactor_watch - tell epoll what a connection waits for, if that changed
 * @r: the reactor
 * @c: the connection
 *
 * epoll looks at the socket's state anew at each change, in edge mode too: what
 * arrived while nobody watched is reported.
 *
 * Return: 0 or a negative errno, which only the first call for a connection
 * can give (ENOMEM, ENOSPC).
 */
int reactor_watch(struct reactor *r, struct conn *c)
{
	struct epoll_event event = {
		.events = interest_of(r, c),
		.data.u64 = c->handle,
	};

	if (c->is_watched && event.events == c->interest)
		return 0;
	if (epoll_ctl(r->epoll_fd, c->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event)) {
		int err = -errno;

		log_error("epoll_ctl reactor=%u error=\"%s\"", r->index, strerror(-err));
		return err;
	}
	c->is_watched = true;
	c->interest = event.events;
	return 0;
}

/**
 * reactor_open - begin with a tracked socket
 * @r: the reactor
 * @handle: the session's handle of it
 * @fd: the socket
 * @source: what its address has, or NULL
 * @now_ms: reactor_now_ms() of a moment ago
 *
 * Return: the connection, or NULL without memory (epoll's included); @handle,
 * @fd and @source are the caller's then.
 */
struct conn *reactor_open(struct reactor *r, uint64_t handle, int fd, struct address_use *source,
			  uint64_t now_ms)
{
	uint32_t index = sockbeat_index(handle);
	struct conn *c;

	if (index >= r->capacity)
		return NULL;
	if (!r->chunks[index >> CHUNK_BITS])
		r->chunks[index >> CHUNK_BITS] = calloc(CHUNK_CONNS, sizeof(*c));
	c = slot(r, index);
	if (!c)
		return NULL;

	/* Who deleted that peer was not us. */
	if (c->handle)
		reactor_close(r, c, CLOSE_RETIRED);
	memset(c, 0, sizeof(*c));
	c->handle = handle;
	sockbeat_conn_begin(r->sb, &c->at, handle);
	c->fd = fd;
	c->source = source;
	c->window_ms = now_ms;
	STAILQ_INIT(&c->line);
	if (reactor_watch(r, c)) {
		c->handle = 0;
		return NULL;
	}
	r->counters.connections++;
	if (r->service->opened)
		r->service->opened(r, c);
	return c;
}

/**
 * reactor_retire - put the slots of closed connections into quarantine and close
 *		    their sockets
 * @r: the reactor
 *
 * In batches, since the kernel engine takes a request for each call. The slot
 * goes first: a socket that closes while tracked would be reported as gone.
 */
void reactor_retire(struct reactor *r)
{
	if (!r->n_retired)
		return;
	if (sockbeat_recycle(r->sb, r->retired.handle, r->n_retired, SOCKBEAT_DEFAULT_DELAY,
			     SOCKBEAT_END_NONE) != (int)r->n_retired)
		/* Those that are left are reported as gone. */
		log_error("recycle reactor=%u error=\"%s\"", r->index, sockbeat_strerror(r->sb));
	for (unsigned int i = 0; i < r->n_retired; i++) {
		/* Tells the peer even if a copy of the descriptor is left. */
		shutdown(r->retired.fd[i], SHUT_RDWR);
		close(r->retired.fd[i]);
	}
	r->n_retired = 0;
	listener_resume(r);
}

/**
 * reactor_close - end a connection
 * @r: the reactor
 * @c: the connection, not to be used any more
 * @cause: what to count it as
 */
void reactor_close(struct reactor *r, struct conn *c, enum close_cause cause)
{
	if (log_wants(LOG_LEVEL_DEBUG))
		log_debug("closed reactor=%u slot=%u cause=%s", r->index,
			  sockbeat_index(c->handle), close_cause_names[cause]);
	if (r->service->closed)
		r->service->closed(r, c, cause);
	reactor_leave_ready(r, c);
	jobs_close(r, c);
	begun_stop(r, c);
	conn_free_buffers(c);
	address_limit_put(&r->shared->addresses, c->source);

	if (r->n_retired == REACTOR_RETIRE_BATCH)
		reactor_retire(r);
	r->retired.handle[r->n_retired] = c->handle;
	r->retired.fd[r->n_retired++] = c->fd;
	c->handle = 0;
	r->counters.closed[cause]++;
	r->counters.connections--;
	atomic_fetch_sub(&r->shared->connections, 1);
}
