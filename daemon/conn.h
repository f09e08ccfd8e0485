/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client connection: its buffers and its reads and writes. What the bytes
 * mean is the service's part, when they may flow the reactor's.
 */
#ifndef SOCKBEAT_CONN_H
#define SOCKBEAT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libsockbeat.h"
#include "work.h"

struct address_use;
struct reactor;

/* Why a connection was closed: enumerator, name in log and statistics. */
#define CLOSE_CAUSES(X)					\
	X(PEER_CLOSE,	peer_close)			\
	X(RESET,	reset)				\
	X(SILENT,	silent)				\
	X(BAD_LENGTH,	bad_length)			\
	X(BAD_CRC,	bad_crc)			\
	X(BAD_TYPE,	bad_type)			\
	X(BAD_REQUEST,	bad_request)			\
	X(SLOW_FRAME,	slow_frame)			\
	X(FLOOD,	flood)				\
	X(BUSY,		busy)				\
	X(LIMIT,	limit)				\
	X(ADDRESS_LIMIT, address_limit)			\
	X(POOL_FULL,	pool_full)			\
	X(REFUSED,	refused)			\
	X(RETIRED,	retired)			\
	X(NO_MEMORY,	no_memory)			\
	X(DRAIN,	drain)

enum close_cause {
#define X(cause, name) CLOSE_##cause,
	CLOSE_CAUSES(X)
#undef X
	CLOSE_CAUSE_COUNT,
};

extern const char *const close_cause_names[CLOSE_CAUSE_COUNT];

/**
 * struct conn_buf - bytes that wait, allocated only while there are any
 * @start: first waiting byte in @data
 * @end: end of the waiting bytes
 * @size: room in @data
 * @need: for input: bytes that the service wants to see at once; while the
 *	  connection is stalled, length of the frame that is to be asked again
 * @begun_ms: for input: when its frame began, while @has_begun of the connection
 * @data: the bytes
 */
struct conn_buf {
	uint32_t start, end, size, need;
	uint64_t begun_ms;
	uint8_t data[];
};

/**
 * struct conn - a connection; its place in the reactor's table is its slot
 * @handle: the session's name for it, 0 while the slot is not in use
 * @at: where we stand between frames, for the kernel that answers heartbeats
 * @in: received bytes that do not make up a frame yet, or NULL
 * @out: bytes that the socket had no room for, or NULL
 * @ready: link in the reactor's list of that name
 * @stalled: link in the reactor's list of connections that wait for room among
 *	     the jobs that wait
 * @begun: link in the reactor's list of connections with a frame that is not
 *	   complete, which one that is stalled never has
 * @source: what its address has, or NULL
 * @line: jobs that follow the one that is with the pool
 * @n_line: number of them, at most max_client_jobs
 * @end_cause: while @at_end: what to count its end as
 * @window_ms: from when on @frames were counted
 * @frames: frames since @window_ms, for max_frames_per_s
 * @counted: how many of them are kept in @in until it is not stalled any more
 * @stall_ms: low bits of when it was stalled last, or resumed after that
 * @read_ms: low bits of when it was last read from
 * @fd: the socket
 * @interest: events that epoll was told to watch for
 * @waited_ms: how long it was stalled, up to MAX_WAITED_MS, as far as max_frames_per_s
 *	       does not know of it
 * @is_watched: epoll knows the socket
 * @is_ready: whether @ready is linked
 * @has_job: a job is with the pool
 * @is_stalled: not read from until a job has found room
 * @is_line_full: it is the room in @line; else @stalled is linked
 * @was_stalled: and no silence since @stall_ms was excused with that
 * @has_begun: whether @begun is linked
 * @is_paused: not read from until @out is drained
 * @reads_on: to be read until nothing is there: epoll said that the end of the
 *	      stream is in sight, or an urgent byte, where a read ends early
 * @owes_read: of a reactor that drains: what arrived may lie unread behind what
 *	       it was stalled or paused by
 * @is_lingering: drained, waits for the peer to end too
 * @at_end: nothing more is read, be it that nothing comes; what was asked for is
 *	    still answered
 * @was_held: of the slot: its last client's quarantine is over, but a worker
 *	      still has it
 */
struct conn {
	uint64_t handle;
	struct sockbeat_conn at;
	struct conn_buf *in;
	struct conn_buf *out;
	TAILQ_ENTRY(conn) ready;
	union {
		TAILQ_ENTRY(conn) stalled;
		TAILQ_ENTRY(conn) begun;
	};
	struct address_use *source;
	struct job_list line;
	uint64_t window_ms;
	uint32_t n_line : 20;	/* max_client_jobs fits */
	uint32_t end_cause : 8;
	bool owes_read : 1;
	uint32_t frames;
	uint32_t counted;
	uint32_t stall_ms;
	uint32_t read_ms;
	int fd;
	uint32_t interest;
	uint32_t waited_ms : 20;
	bool is_watched : 1;
	bool is_ready : 1;
	bool has_job : 1;
	bool is_stalled : 1;
	bool was_stalled : 1;
	bool is_line_full : 1;
	bool has_begun : 1;
	bool is_paused : 1;
	bool reads_on : 1;
	bool at_end : 1;
	bool is_lingering : 1;
	bool was_held : 1;
};

/**
 * struct service_ops - the four events of a service
 * @opened: a client connected
 * @closed: the connection ends; nothing can be sent any more
 * @readable: bytes arrived, from a frame boundary on. Returns how many were
 *	      used; when fewer than @len, *@need says how many bytes from there
 *	      on it wants to see next time, or the connection was stalled and
 *	      so many make up the frame that did it.
 *	      -cause ends it, for any cause but CLOSE_PEER_CLOSE, which is 0; when
 *	      the client sent what it should not have, what was asked for before is
 *	      answered first.
 * @writable: all that had to wait was sent
 *
 * Any but @readable may be NULL.
 */
struct service_ops {
	void (*opened)(struct reactor *r, struct conn *c);
	void (*closed)(struct reactor *r, struct conn *c, enum close_cause cause);
	long (*readable)(struct reactor *r, struct conn *c, const uint8_t *data,
			 size_t len, size_t *need);
	void (*writable)(struct reactor *r, struct conn *c);
};

extern const struct service_ops sample_service;

/* What a function below left of a connection. */
enum conn_state {
	CONN_CLOSED,	/* it is gone, do not touch it */
	CONN_WAITING,	/* epoll will tell when there is more to do */
	CONN_MORE,	/* there may be more to read, its turn is over */
};

enum close_cause conn_error_cause(int err);
enum conn_state conn_on_readable(struct reactor *r, struct conn *c);
enum conn_state conn_on_writable(struct reactor *r, struct conn *c);
enum conn_state conn_feed_kept(struct reactor *r, struct conn *c);
bool conn_is_idle(const struct conn *c);
int conn_send(struct reactor *r, struct conn *c, const uint8_t *data, size_t len);
void conn_free_buffers(struct conn *c);

/* Whether what a client sends is read now. */
static inline bool conn_is_read(const struct conn *c)
{
	return !c->is_paused && !c->is_stalled;
}

#endif /* SOCKBEAT_CONN_H */
