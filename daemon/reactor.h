/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reactor: one thread with its own epoll instance, listeners, sockbeat
 * session and connections. Reactors share nothing but the count of
 * connections and the wish to stop.
 */
#ifndef SOCKBEAT_REACTOR_H
#define SOCKBEAT_REACTOR_H

#include <pthread.h>
#include <stdatomic.h>

#include "address_limit.h"
#include "config.h"
#include "conn.h"
#include "libsockbeat.h"

#define REACTOR_READ_BYTES	65536
#define REACTOR_RETIRE_BATCH	64

/* What a reactor counts: name in the structure and in statistics. */
#define REACTOR_COUNTERS(X)	\
	X(accepted)		\
	X(heartbeats)		\
	X(frames)		\
	X(bytes_in)		\
	X(bytes_out)		\
	X(queue_pauses)		\
	X(accept_pauses)	\
	X(full_pauses)		\
	X(held_slots)

/* Jobs given to the pool, and what became of them. */
#define REACTOR_JOB_COUNTERS(X)	\
	X(jobs)			\
	X(jobs_done)		\
	X(jobs_stale)		\
	X(jobs_dropped)		\
	X(results_closed)	\
	X(results_reused)	\
	X(work_pauses)

struct reactor_counters {
#define X(name) uint64_t name;
	REACTOR_COUNTERS(X)
	REACTOR_JOB_COUNTERS(X)
#undef X
	uint64_t connections;
	uint64_t closed[CLOSE_CAUSE_COUNT];
};

/* What reactor_snapshot() brings out of a running reactor. */
struct reactor_snapshot {
	struct reactor_counters counters;
	struct sockbeat_stats session;
	uint64_t free_slots;
};

/* All that reactors have in common. */
struct reactor_shared {
	atomic_uint connections;
	struct address_limit addresses;
	atomic_bool stop;
	struct work *work;
	const char *engine_reason;	/* why it is the engine that all have */
};

/**
 * struct reactor - see above; only its own thread uses it once it runs,
 *		    @wake_fd, @wants_room, the results and the snapshot excepted
 * @config: the settings
 * @shared: what all reactors have in common
 * @service: what the connections are for
 * @sb: the session
 * @index: number of this reactor
 * @epoll_fd: the epoll instance
 * @wake_fd: eventfd that makes it look at @shared->stop, @snapshot, @results
 *	     and @wants_room
 * @listen_fd: as many as the settings name
 * @listen_ready: bit for each listener that epoll reported in this turn
 * @listen_next: which of them is the first to be served next, modulo their number
 * @session_more: the session may have more events than were taken
 * @is_native: the profile is that of the native frames
 * @is_offloading: the kernel answers heartbeats
 * @acts_alone: the session ends no silent client: the builtin engine would do so in
 *		the very moment in which it tells of it
 * @accept_paused: no descriptors or slots were left: listeners are off epoll
 * @accept_retry_ms: when to try accept() again if nothing closes before
 * @draining: no more connections, only the queues of the present ones
 * @drain_end_ms: when that ends at the latest
 * @drain_look_ms: when to look again at those in @ready
 * @capacity: slots of the session
 * @chunks: table of connections by slot, made as slots come into use
 * @ready: connections whose turn was cut short; of one that is draining: those
 *	   that have heard of the end and sent nothing since
 * @stalled: connections that wait for room among the jobs that wait, those that
 *	     wait longest first
 * @begun: connections with a frame that is not complete, those first where it
 *	   began first
 * @resuming: they are asking again
 * @wants_room: there are such ones
 * @results_lock: protects @results
 * @results: jobs that came back from the pool, oldest first
 * @retired: closed connections whose slot and socket go at the turn's end
 * @n_retired: number of them
 * @peers: room for a batch of accepted sockets
 * @sources: what the addresses of these have, where that is counted
 * @counters: what happened
 * @thread: the thread
 * @snapshot_lock: protects @snapshot
 * @snapshot_done: @snapshot was filled in
 * @snapshot: where another thread waits for one, or NULL
 * @buf: what was read last
 */
struct reactor {
	const struct config *config;
	struct reactor_shared *shared;
	const struct service_ops *service;
	struct sockbeat *sb;
	unsigned int index;
	int epoll_fd;
	int wake_fd;
	int listen_fd[CONFIG_MAX_LISTEN];
	uint32_t listen_ready;
	uint32_t listen_next;
	bool is_native;
	bool is_offloading;
	bool acts_alone;
	bool accept_paused;
	uint64_t accept_retry_ms;
	bool session_more;
	bool draining;
	uint64_t drain_end_ms;
	uint64_t drain_look_ms;
	uint32_t capacity;
	struct conn **chunks;
	TAILQ_HEAD(, conn) ready;
	TAILQ_HEAD(, conn) stalled;
	TAILQ_HEAD(, conn) begun;
	bool resuming;
	atomic_bool wants_room;
	pthread_mutex_t results_lock;
	struct job_list results;
	struct { uint64_t handle[REACTOR_RETIRE_BATCH]; int fd[REACTOR_RETIRE_BATCH]; } retired;
	unsigned int n_retired;
	struct sockbeat_peer *peers;
	struct address_use **sources;
	struct reactor_counters counters;
	pthread_t thread;
	pthread_mutex_t snapshot_lock;
	pthread_cond_t snapshot_done;
	struct reactor_snapshot *snapshot;
	uint8_t buf[REACTOR_READ_BYTES];
};

static inline void reactor_enter_ready(struct reactor *r, struct conn *c)
{
	if (c->is_ready)
		return;
	TAILQ_INSERT_TAIL(&r->ready, c, ready);
	c->is_ready = true;
}

static inline void reactor_leave_ready(struct reactor *r, struct conn *c)
{
	if (!c->is_ready)
		return;
	TAILQ_REMOVE(&r->ready, c, ready);
	c->is_ready = false;
}

/* reactor.c */
int reactor_create(struct reactor **rp, const struct config *config,
		   struct reactor_shared *shared, unsigned int index);
int reactor_listen(struct reactor *r, struct config *config);
int reactor_start(struct reactor *r);
void reactor_wake(struct reactor *r);
void reactor_read(struct reactor *r, struct conn *c);
void reactor_come_back(struct reactor *r, struct conn *c);
unsigned int reactor_unread_bytes(const struct conn *c);
enum conn_state reactor_read_arrived(struct reactor *r, struct conn *c);
enum close_cause reactor_lost_cause(const struct reactor *r, const struct conn *c);
void reactor_snapshot(struct reactor *r, struct reactor_snapshot *snapshot);
void reactor_join(struct reactor *r);
void reactor_destroy(struct reactor *r);

/* table.c */
int conns_init(struct reactor *r);
void conns_free(struct reactor *r);
struct conn *reactor_find(struct reactor *r, uint64_t handle);
struct conn *reactor_in_slot(struct reactor *r, uint64_t handle);
bool reactor_note_held(struct reactor *r, uint64_t handle, bool held);
struct conn *reactor_open(struct reactor *r, uint64_t handle, int fd, struct address_use *source,
			  uint64_t now_ms);
void reactor_close(struct reactor *r, struct conn *c, enum close_cause cause);
int reactor_watch(struct reactor *r, struct conn *c);
void reactor_retire(struct reactor *r);
void reactor_each(struct reactor *r, void (*fn)(struct reactor *r, struct conn *c));
uint64_t reactor_now_ms(void);

/* begun.c */
void begun_start(struct reactor *r, struct conn *c);
void begun_stop(struct reactor *r, struct conn *c);
uint64_t begun_due_ms(const struct reactor *r);
void begun_check(struct reactor *r);

/* jobs.c */
void jobs_submit(struct reactor *r, struct conn *c, struct job *job);
bool jobs_line_full(struct reactor *r, struct conn *c);
void jobs_stall(struct reactor *r, struct conn *c);
void jobs_close(struct reactor *r, struct conn *c);
void jobs_results(struct reactor *r);
void jobs_resume(struct reactor *r);
void reactor_post(struct reactor *r, struct job *job);

/* listener.c */
int listener_open(union address *address);
int listener_watch(struct reactor *r, bool on);
void listener_accept(struct reactor *r);
void listener_resume(struct reactor *r);

/* news.c */
void news_take(struct reactor *r);

/* drain.c */
void drain_begin(struct reactor *r);
void drain_event(struct reactor *r, struct conn *c, uint32_t events);
void drain_end(struct reactor *r, struct conn *c);
uint64_t drain_due_ms(const struct reactor *r);
void drain_turn(struct reactor *r);
bool drain_check(struct reactor *r, struct conn *c);

/* The id of the session's only profile. */
#define REACTOR_PROFILE		1

/* Marks of what is not a connection; handles are never that small. */
#define REACTOR_MARK_WAKE	0
#define REACTOR_MARK_SESSION	1
#define REACTOR_MARK_LISTEN	16

#endif /* SOCKBEAT_REACTOR_H */
